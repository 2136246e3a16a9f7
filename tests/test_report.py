"""The report is one file that says what was measured, can be heard, and works in a browser on any screen."""

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile

from taste.errors import RecipeError
from taste.files import write_json
from taste.report.listening import Utterance, listen, sound, speakers_in_turn
from taste.report.page import write_page
from taste.report.pictures import word_peaks
from taste.report.table import EMPTY, Cell, Column, Table, decimals
from taste.tables import read_table, write_table
from taste.training.loop import train
from tests.helpers import evaluate_systems, make_data_dir, open_sets, tiny_config

RATE = 16000
SYSTEMS = ["text_only_continued", "taste"]
UTTS = 8
WITHOUT = "spk1-utt0001"  # has no waveform of taste
CHROMIUM = shutil.which("chromium")
SCORES = {
    "wer": {"title": "word error rate", "unit": "%", "better": "lower", "how": "Whisper reads it.", "missing": None},
    "pesq": {"title": "PESQ", "unit": "", "better": "higher", "how": "Wide band.", "missing": "pesq is not installed"},
    "bits": {"title": "bits a second", "unit": "", "better": None, "how": "By sizes.", "missing": None},
}


def tone(seconds, hertz=220.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def write_waveforms(path, folder, utts):
    folder.mkdir(parents=True, exist_ok=True)
    for number, utt in enumerate(utts):
        soundfile.write(folder / f"{utt}.wav", tone(0.5 + 0.05 * number), RATE)
    write_table(path, {utt: str(folder / f"{utt}.wav") for utt in utts})


def figure(mean):
    return {"mean": mean, "low": mean * 0.9, "high": mean * 1.1, "utts": 10}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two small systems with results and waveforms of 10 utterances; neither scores nor edits nor an ablation."""
    root = tmp_path_factory.mktemp("my report")
    data, exp = root / "data", root / "exp"
    for seed, (name, n_utts) in enumerate({"train": 30, "dev": 10, "test": 10}.items()):
        utts = make_data_dir(data / name, n_utts, seed)
    text = read_table(data / "test/text")
    lengths = {utt: len(counts.split()) for utt, counts in read_table(data / "test/utt2word_tokens").items()}
    write_table(data / "test/text", {utt: " ".join(["<b>&"] * lengths[utt]) for utt in text})
    times = {utt: " ".join(f"<b>& {i / 3:.3f} {(i + 1) / 3:.3f}" for i in range(n)) for utt, n in lengths.items()}
    write_table(data / "test/utt2words", times)
    write_waveforms(data / "test/wav.scp", root / "recordings", utts)
    for name, config in (("text_only_continued", tiny_config()), ("taste", tiny_config("attention"))):
        train(config, *open_sets(data, config), exp / name, None, "cpu")
        made = [utt for utt in utts if (name, utt) != ("taste", WITHOUT)]
        write_waveforms(exp / name / "wav/test/wav.scp", exp / name / "wav/test", made)
    write_waveforms(exp / "topline/wav/test/wav.scp", exp / "topline/wav/test", utts)
    evaluate_systems(exp, SYSTEMS, data)
    return root


def make_page(root, **changes):
    settings = {"systems": SYSTEMS, "utts": UTTS, "seed": 1, "made_by": "./run.sh --x '<i>'", **changes}
    systems, utts, seed, made_by = (settings[key] for key in ("systems", "utts", "seed", "made_by"))
    return write_page(
        root / "exp", root / "data", systems, ["test"], "text_only_continued", utts, seed, made_by
    ).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full_page(experiment, tmp_path_factory):
    """The path of a page with scores, edits and an ablation."""
    root = tmp_path_factory.mktemp("full") / "copy"
    shutil.copytree(experiment, root)
    exp = root / "exp"
    rows = {
        name: {"wer": figure(9.0 + i), "pesq": None, "bits": figure(50.0) if name in SYSTEMS else None}
        for i, name in enumerate(["original", "topline", *SYSTEMS])
    }
    write_json(exp / "scores.json", {"command": "score", "commit": "c", "scores": SCORES, "sets": {"test": rows}})
    soundfile.write(exp / "edited.wav", tone(0.7), RATE)
    wav = dict.fromkeys(("original", "before", "edited", "random"), "edited.wav")
    example = {"utt": "u1", "donor": "u2", "words": ["two"], "text": "one two three", "wav": wav}
    figures = {"edited_change": 0.25, "untouched_change": 0.0, "follows": None, "edited_words": 3, "untouched_words": 9}
    figures = {variant: {"duration": figures, "pitch": figures} for variant in ("edited", "random")}
    record = {"system": "taste", "set": "test", "seed": 1, "utts": 10, "heard": 1, "figures": figures}
    write_json(exp / "edits/edits.json", {**record, "examples": [example]})
    difference = {"mean": -0.02, "low": -0.03, "high": -0.01, "values": [-0.02]}
    write_json(
        exp / "ablation/ablation.json",
        {"seeds": [1], "reference": "text_only_continued", "grids": {},
         "systems": {"text_only": {"test": {"loss": {"mean": 2.0}}}, "taste": {"test": {"difference": difference}}}},
    )  # fmt: skip
    make_page(root)
    return exp / "report/index.html"


def test_what_is_not_there_is_said(experiment):
    page = make_page(experiment)
    assert (
        "stage 12 makes it" in page and "stage 11 makes it" in page and "<code>run_ablation.sh</code> makes it" in page
    )


def test_nothing_that_was_said_becomes_markup(experiment):
    page = make_page(experiment)
    assert "<b>" not in page and "<i>" not in page
    assert "&lt;b&gt;&amp;" in page and "./run.sh --x &#39;&lt;i&gt;&#39;" in page


def test_utterances_without_a_waveform_are_named_and_left_out(experiment, caplog):
    page = make_page(experiment, utts=10)
    assert f"left out {WITHOUT}: no waveform of taste" in caplog.text
    assert f"{WITHOUT} (no waveform of taste)" in page
    labels = re.findall(r'aria-label="([^"]*), ([^"]*)"></audio>', page)
    assert len(labels) == 9 * 4 and WITHOUT not in {utt for _, utt in labels}
    assert {row for row, _ in labels} == {"original", "topline", *SYSTEMS}


def test_without_any_waveform_there_is_no_report(experiment, tmp_path):
    shutil.copytree(experiment / "data/test", tmp_path / "test")
    write_table(tmp_path / "test/wav.scp", {"spk0-utt0000": str(tmp_path / "none.wav")})
    with pytest.raises(RecipeError, match="none of the 10 utterances"):
        listen(experiment / "exp", tmp_path / "test", [], UTTS, 1)


def test_systems_without_waveforms_leave_the_recordings(experiment, tmp_path):
    found = listen(tmp_path, experiment / "data/test", SYSTEMS, UTTS, 1)
    assert found.rows == ["original"] and len(found.utterances) == UTTS and not found.left_out


def test_the_seed_chooses_and_speakers_take_turns():
    utt2spk = {f"{speaker}-{number}": speaker for speaker in "abc" for number in range(20)}
    order = list(speakers_in_turn(utt2spk, 1))
    assert sorted(order) == sorted(utt2spk)
    assert all({utt[0] for utt in order[i : i + 3]} == set("abc") for i in range(0, 60, 3))
    assert order == list(speakers_in_turn(utt2spk, 1)) != list(speakers_in_turn(utt2spk, 2))


def test_the_sound_is_that_of_the_waveform():
    random = np.random.default_rng(0)
    samples = np.convolve(random.normal(size=RATE), np.ones(8) / 40, "same").astype(np.float32)
    clip = sound("taste", samples, RATE)
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(clip.source.partition(",")[2])))
    assert rate == RATE and len(heard) == len(samples) and clip.seconds == 1.0
    assert np.corrcoef(heard, samples)[0, 1] > 0.95
    assert len(clip.source) < len(samples)  # a byte a sample would be half of 16-bit


def test_the_best_of_a_column_is_marked_only_where_one_end_is_better():
    columns = [Column("a", better="lower"), Column("b", better="higher"), Column("c"), Column("d", better="lower")]
    rows = [
        ("original", [Cell("0", 0.0), Cell("9", 9.0), Cell("9", 9.0), EMPTY]),
        ("x", [Cell("1.0", 1.01), Cell("2", 2.0), Cell("2", 2.0), Cell("1", 1.0)]),
        ("y", [Cell("1.0", 1.02), Cell("3", 3.0), Cell("3", 3.0), EMPTY]),
    ]
    table = Table("caption", columns, rows, references=["original"])
    assert table.best == {0: ["x", "y"], 1: ["y"], 3: []}


def test_decimals_suit_the_size():
    assert [decimals([value, -value / 2]) for value in (0.04, 3.2, 67.0, 1500.0)] == [3, 2, 1, 0]
    assert decimals([]) == 3


def test_edited_words_are_marked_in_their_order():
    utterance = Utterance("u", "", "YOU DON'T MEAN THAT YOU DO", [], ["MEAN", "THAT", "YOU"])
    assert [word for word, is_edited in utterance.words() if is_edited] == ["mean", "that", "you"]
    assert not utterance.words()[0][1]


def test_a_word_looks_where_its_first_token_looks():
    attention = np.zeros((3, 10))
    attention[[0, 1, 2], [1, 9, 5]] = 1  # the first word has two tokens
    assert word_peaks(attention, [2, 1], 2.0) == pytest.approx([0.3, 1.1])
    assert word_peaks(attention.T, [2, 1], 2.0) == pytest.approx([0.3, 1.1])


def test_scores_edits_and_ablation_are_shown_with_their_figures(full_page):
    page = full_page.read_text(encoding="utf-8")
    assert "Empty: PESQ, because pesq is not installed." in page
    assert re.search(r'class="best"><strong>11\.0<span class="hidden"> \(best\)', page)
    assert "9.9 to 12.1" in page
    assert "<mark>two</mark>" in page and re.search(r"pitch, random tokens</th>\s*<td>25%</td>", page)
    assert "taste -0.0200 (-0.0300 to -0.0100)" in page


def test_pictures_say_what_they_show(full_page, experiment):
    alts = re.findall(r'alt="([^"]*)"', full_page.read_text(encoding="utf-8"))
    epochs = [json.loads(line) for line in (experiment / "exp/taste/epochs.jsonl").read_text().splitlines()]
    assert sum("Attention of taste" in alt for alt in alts) == 2
    assert any(f"at best {min(e['dev_loss'] for e in epochs):.3f}" in alt for alt in alts)
    page = full_page.read_text(encoding="utf-8")
    assert len(re.findall(r"highest within the word that is being said for \d of \d words", page)) == 2 * 2
    assert len(alts) == 4 and all(re.search(r"\d", alt) for alt in alts)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    arguments = ["--autoplay-policy=no-user-gesture-required"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=str)
def opened(request, browser, full_page):
    """The page from its file, what the console said, and what was asked for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(full_page.as_uri())
    yield page, said, [url for url in asked if not url.startswith("data:")]
    context.close()


def test_it_opens_from_its_file_and_asks_for_nothing(opened, full_page):
    page, said, asked = opened
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
    assert said == [] and asked == [full_page.as_uri()]


def test_nothing_is_wider_than_the_screen(opened):
    page, _, _ = opened
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contrast_headings_tables_and_labels_are_in_order(opened):
    from axe_playwright_python.sync_playwright import Axe

    page, _, _ = opened
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    found = Axe().run(page)
    assert found.response["passes"]
    assert found.violations_count == 0, found.generate_report()


def test_each_player_has_the_length_that_is_written_beside_it(opened):
    page, said, _ = opened
    page.wait_for_function("[...document.querySelectorAll('audio')].every(player => player.readyState > 0)")
    rows = page.eval_on_selector_all(
        "audio", "all => all.map(a => [a.duration, a.closest('tr').querySelector('.seconds').textContent])"
    )
    assert len(rows) == UTTS * 4 + 4
    for duration, written in rows:
        assert duration == pytest.approx(float(written.removesuffix(" s")), abs=0.06)
    assert said == []


def test_one_player_at_a_time(opened):
    page, _, _ = opened
    paused = page.evaluate(
        """async () => {
          const [first, second] = document.querySelectorAll("audio");
          first.loop = second.loop = true;
          await first.play();
          await second.play();
          return [first.paused, second.paused];
        }"""
    )
    assert paused == [True, False]
