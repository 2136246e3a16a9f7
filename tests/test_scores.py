"""Scores of waveforms: on tones, whose answers are known, and on a few utterances of the shipped corpus."""

import json
import logging

import numpy as np
import pytest
import soundfile
import torch
import whisper
from speechmos import dnsmos
from whisper.timing import find_alignment

from taste.errors import RecipeError, UtteranceError
from taste.files import write_json
from taste.scores.acoustics import analyse, compare
from taste.scores.definitions import DEFINITIONS, summarize
from taste.scores.listening import read_waveform
from taste.scores.quality import intelligibility, mean_opinion
from taste.scores.scoring import Settings, choose, score_systems
from taste.scores.speaker_similarity import Campplus3DSpeakerEncoder, cosine, load_other_encoder
from taste.scores.table import score_sections, score_table
from taste.scores.transcription import Transcriber, Word, window
from taste.scores.words import compare_durations, count_word_errors
from taste.speaker.encoders import ResemblyzerEncoder
from taste.tables import read_table, write_table
from taste.whisper.weights import load_whisper
from tests.helpers_recipe import CORPUS

RATE = 16000


def corpus_utts(number, of_each=1):
    """Utterances of the first voices of the test set: [(utt, path, transcript)]."""
    chapters = sorted((CORPUS / "test").glob("*/*"))[:number]
    return [
        (utt, chapter / f"{utt}.opus", text)
        for chapter in chapters
        for utt, text in list(read_table(next(chapter.glob("*.trans.txt"))).items())[:of_each]
    ]


def glide(start, end, seconds=1.5, seed=0):
    """A voice-like tone whose F0 goes from `start` to `end` Hz: harmonics under formants that move with time."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(np.geomspace(start, end, len(time))) / RATE
    position = time / seconds
    tone = sum(np.sin(k * phase) * np.exp(-(((k * 150 - 500 - 1500 * position) / 600) ** 2)) for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.1 * tone + 1e-3 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def transcriber(pretrained_dir):
    return Transcriber("tiny.en", pretrained_dir, torch.device("cpu"))


def test_word_errors_after_normalization():
    assert count_word_errors("MISTER SMITH DOESN'T COLOUR TWENTY FIVE CARDS", "Mr. Smith doesn't color 25 cards.") == (
        0,
        7,
    )
    assert count_word_errors("ONE CAT SAT", "the cat has sat") == (2, 3)
    assert count_word_errors("THE CAT SAT", "") == (3, 3)
    assert count_word_errors("", "anything") == (0, 0)


def test_durations_are_compared_word_by_word_on_whispers_grid():
    original = [Word("The", 0.0, 0.2), Word("cat", 0.2, 0.6), Word("sat", 0.6, 1.0), Word("down.", 1.0, 1.5)]
    other = [Word("The", 0.1, 0.3), Word("cat", 0.3, 0.72), Word("hat", 0.72, 1.0), Word("down.", 1.0, 1.54)]
    found = compare_durations(original, other)
    assert found.same_count and found.compared == 3
    assert found.within == (1, 2, 3)  # differences of 0, 20 and 40 ms, each less than 20, 25 and 50 ms
    assert not compare_durations(original, other[:3]).same_count


def test_transcripts_and_word_times(transcriber):
    utts = corpus_utts(2)
    samples = [soundfile.read(path, dtype="float32")[0] for _, path, _ in utts]
    silence = [np.zeros(RATE, np.float32), np.zeros(0, np.float32)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = transcriber.transcribe([*samples, *silence], word_times=True)
        assert torch.get_num_threads() == 1  # processes that listen side by side have one each
    finally:
        torch.set_num_threads(threads)
    assert [(each.text, each.words) for each in found[2:]] == [("", [])] * 2
    errors = [count_word_errors(text, each.text) for (_, _, text), each in zip(utts, found, strict=False)]
    assert sum(error for error, _ in errors) <= 0.3 * sum(words for _, words in errors)
    for (utt, path, _), each in zip(utts, found, strict=False):
        true = read_table(next(path.parent.glob("*.words.txt")))[utt].split()
        starts = np.array([word.start for word in each.words])
        assert (np.diff(starts) >= 0).all()
        if len(starts) == len(true) // 3:
            assert np.median(np.abs(starts - np.array(true[1::3], float))) < 0.2  # of tiny.en, whatever the window


def test_words_and_their_times_are_whispers_own(transcriber, pretrained_dir):
    """In a window of 10 s, of which the decoder is given what the encoder made, all is as in Whisper's own of 30 s."""
    _, path, _ = corpus_utts(1)[0]
    samples = soundfile.read(path, dtype="float32")[0]
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(samples)))
    whole = load_whisper("tiny.en", pretrained_dir)
    result = whisper.decode(whole, mel, transcriber.options)
    own = find_alignment(whole, transcriber.tokenizer, result.tokens, mel, len(samples) // 160)
    (found,) = transcriber.transcribe([samples], word_times=True)
    assert found.text == result.text
    starts = [each.start for each in own if each.word.strip(" .,")]
    assert [word.start for word in found.words] == pytest.approx(starts, abs=0.08)


def test_half_of_the_window_is_silence():
    assert [window(seconds * RATE) / RATE for seconds in (1, 5, 6, 11, 31)] == [10, 10, 20, 30, 30]


def test_pitch_and_spectrum_after_warping():
    original = analyse(glide(120, 180))
    voiced = original.f0[np.isfinite(original.f0)]
    assert voiced.min() == pytest.approx(120, rel=0.05) and voiced.max() == pytest.approx(180, rel=0.05)
    itself = compare(original, original)
    assert itself.distortion == 0 and itself.f0_correlation == pytest.approx(1) and itself.f0_rmse == 0
    slower = compare(original, analyse(glide(120, 180, seconds=2)))
    assert slower.f0_correlation > 0.97 and slower.f0_rmse < 0.05
    higher = compare(original, analyse(glide(132, 198)))
    assert higher.f0_correlation > 0.9 and higher.f0_rmse == pytest.approx(np.log(1.1), abs=0.03)
    falling = compare(original, analyse(glide(180, 120)))
    assert falling.f0_correlation < 0
    noise = analyse(np.random.default_rng(0).normal(scale=0.1, size=RATE).astype(np.float32))
    found = compare(original, noise)
    assert found.distortion > 2 * slower.distortion and found.f0_correlation is None
    with pytest.raises(UtteranceError, match="too few"):
        analyse(np.zeros(100, np.float32))


def test_distortion_is_the_difference_of_mel_spectra_in_db():
    """A filter that raises a cosine over the mel axis by 2 dB at most distorts by 2 dB / sqrt(2)."""
    original = analyse(glide(120, 180))
    changed = original.cepstra.copy()
    changed[:, 0] += 2 * np.sqrt(40 / 2)  # orthonormal coefficient of 2 dB times a cosine over 40 mel bins
    found = compare(original, type(original)(changed, original.f0))
    assert found.distortion == pytest.approx(np.sqrt(2), rel=0.1)


def test_quality_falls_with_noise():
    _, path, _ = corpus_utts(1)[0]
    samples = soundfile.read(path, dtype="float32")[0]
    noisy = samples + np.random.default_rng(0).normal(scale=0.1, size=len(samples)).astype(np.float32)
    assert intelligibility(samples, samples[:-5]) > 0.99 > 0.95 > intelligibility(samples, noisy)
    assert 5 >= mean_opinion(samples) > mean_opinion(noisy) + 0.2
    with pytest.raises(UtteranceError, match="STOI"):
        intelligibility(samples[:2000], samples[:2000])


@pytest.mark.parametrize("seconds", [9.01, 11.01, 13.0])
def test_quality_is_that_of_the_package_where_a_window_is_full(seconds):
    noise = np.random.default_rng(0).normal(scale=0.05, size=int(seconds * RATE)).astype(np.float32)
    assert mean_opinion(noise) == pytest.approx(dnsmos.run(noise, RATE)["ovrl_mos"])


def test_the_second_speaker_encoder_tells_voices_apart(pretrained_dir):
    encoder = load_other_encoder({"backend": "resemblyzer", "sha256": "0"}, pretrained_dir, None)
    assert isinstance(encoder, Campplus3DSpeakerEncoder)
    utts = corpus_utts(3, of_each=2)
    embedded = [encoder.embed(soundfile.read(path, dtype="float32")[0]) for _, path, _ in utts]
    same = [cosine(embedded[i], embedded[i + 1]) for i in (0, 2, 4)]
    other = [cosine(embedded[i], embedded[j]) for i in range(6) for j in range(i) if i // 2 != j // 2]
    assert min(same) > max(other)


def test_the_conditioning_encoder_never_judges(pretrained_dir, tmp_path):
    encoder = load_other_encoder({"backend": "campplus", "sha256": "0"}, pretrained_dir, None)
    assert isinstance(encoder, ResemblyzerEncoder)
    with pytest.raises(RecipeError, match="the same encoder"):
        load_other_encoder({"backend": "campplus", "sha256": encoder.record["sha256"]}, pretrained_dir, None)
    (tmp_path / Campplus3DSpeakerEncoder.FILE).write_bytes(b"other weights")
    with pytest.raises(RecipeError, match="damaged"):
        load_other_encoder({"backend": "resemblyzer", "sha256": "0"}, tmp_path, None)


def test_utterances_are_drawn_evenly_over_speakers():
    utt2spk = {f"{spk}-{i}": spk for spk, count in (("a", 10), ("b", 3), ("c", 1)) for i in range(count)}
    chosen = choose(utt2spk, 7, seed=1)
    assert [sum(utt2spk[utt] == spk for utt in chosen) for spk in "abc"] == [3, 3, 1]
    assert chosen == sorted(chosen) == choose(utt2spk, 7, seed=1) != choose(utt2spk, 7, seed=2)
    assert choose(utt2spk, None, 1) == choose(utt2spk, 99, 1) == sorted(utt2spk)


def test_the_mean_of_a_set_is_weighted_and_has_an_interval():
    found = summarize([(100.0, 1), (0.0, 3), (50.0, 0)], seed=1)
    assert found["mean"] == 25 and found["utts"] == 2 and found["low"] == 0 and found["high"] == 100
    assert summarize([(2.0, 1)], 1) == {"mean": 2.0, "low": None, "high": None, "utts": 1}
    assert summarize([(2.0, 0)], 1) is None


def test_empty_and_missing_files(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    assert len(read_waveform(str(tmp_path / "empty.wav"))) == 0
    soundfile.write(tmp_path / "stereo.wav", np.zeros((22050, 2), np.float32), 22050)
    assert read_waveform(str(tmp_path / "stereo.wav")).shape == (RATE,)
    (tmp_path / "text.wav").write_text("no sound")
    for name in ("text.wav", "gone.wav"):
        with pytest.raises(UtteranceError, match=name):
            read_waveform(str(tmp_path / name))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, pretrained_dir):
    """Three utterances; a topline with little noise, and a system of which one is silent and one is missing."""
    root = tmp_path_factory.mktemp("scores")
    utts = corpus_utts(3)
    data = root / "data/test"
    data.mkdir(parents=True)
    write_table(data / "wav.scp", {utt: str(path) for utt, path, _ in utts})
    write_table(data / "text", {utt: text for utt, _, text in utts})
    write_table(data / "utt2spk", {utt: utt.split("-")[0] for utt, _, _ in utts})
    write_json(data / "spk_emb.json", {"backend": "resemblyzer", "dim": 256, "sha256": "0"})
    for row in ("topline", "taste"):
        folder = root / "exp" / row / "wav/test"
        folder.mkdir(parents=True)
        for index, (utt, path, _) in enumerate(utts):
            samples = soundfile.read(path, dtype="float32")[0]
            noise = np.random.default_rng(index).normal(scale=0.002, size=len(samples))
            made = samples + noise if row == "topline" else samples * (index != 1)
            soundfile.write(folder / f"{utt}.wav", made, RATE)
        kept = utts if row == "topline" else utts[:2]
        write_table(folder / "wav.scp", {utt: str(folder / f"{utt}.wav") for utt, _, _ in kept})
        write_json(folder / "wav.json", {"seconds": 1.0, "audio_seconds": 10.0})
    results = {"units": {"K": 256, "rate": 25}, "systems": {"taste": {"test": {"tokens": {"bits_per_second": 67.0}}}}}
    write_json(root / "exp/results.json", results)
    warnings = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("taste").addHandler(handler)
    arguments = pretrained_dir, None, Settings("tiny.en", None, 1), "./run.sh", torch.device("cpu")
    scores = score_systems(root / "exp", ["taste"], [data], *arguments, jobs=2)
    logging.getLogger("taste").removeHandler(handler)
    return root, [utt for utt, _, _ in utts], scores, warnings


def test_rows_and_scores_of_an_experiment(experiment):
    root, utts, scores, _ = experiment
    assert json.loads((root / "exp/scores.json").read_text()) == scores
    found = scores["sets"]["test"]
    assert list(found) == ["original", "topline", "taste"]
    assert all(list(row) == list(DEFINITIONS) == list(scores["scores"]) for row in found.values())
    original, topline, taste = found.values()
    assert original["speaker_similarity"] is None and original["bits_per_second"] is None
    assert topline["speaker_similarity"]["mean"] > 0.7 and topline["stoi"]["mean"] > 0.9 and taste["stoi"] is None
    assert topline["bits_per_second"]["mean"] == 200 and taste["bits_per_second"]["mean"] == 67
    assert taste["real_time_factor"]["mean"] == 0.1
    # the utterance that is as the original agrees with it in everything; the silent one has lost all its words
    assert taste["duration_consistency_20"]["mean"] == 1 and taste["duration_consistency_20"]["utts"] == 1
    assert taste["mcd"]["mean"] == pytest.approx(0, abs=1e-3) and taste["mcd"]["utts"] == 1
    assert taste["words_differ"] == {**taste["words_differ"], "mean": 50.0, "utts": 2}
    lines = [json.loads(line) for line in (root / "exp/taste/scores/test.jsonl").read_text().splitlines()]
    assert [line["utt"] for line in lines] == utts[:2]
    assert lines[1]["text"] == "" and lines[1]["scores"]["wer"] == 100 and "dnsmos" not in lines[1]["scores"]


def test_sections_of_the_report(experiment):
    _, _, scores, _ = experiment
    text = "\n\n".join(score_sections(scores))
    assert "CAM" in text.upper() and "resemblyzer" in text and "Whisper tiny.en" in text
    table = score_table(scores, "test").splitlines()
    assert len(table) == 2 + len(DEFINITIONS) and table[0].split() == [
        "|",
        "|",
        "original",
        "|",
        "topline",
        "|",
        "taste",
        "|",
    ]
    assert "(1)" in next(line for line in table if "MCD" in line)  # of two utterances one has a distortion


def test_missing_utterances_are_named_and_counted(experiment):
    _, utts, _, warnings = experiment
    assert f"left out {utts[2]}: is not in wav.scp" in warnings
    assert "scores of taste on test: left out 1 of 3 utterances, named above" in warnings


def test_missing_waveforms_say_which_stage_makes_them(experiment, pretrained_dir):
    root, _, _, _ = experiment
    settings = Settings("tiny.en", None, 1)
    arguments = [root / "data/test"], pretrained_dir, None, settings, "./run.sh", torch.device("cpu")
    with pytest.raises(RecipeError, match=r"exp/text_only/wav/test/wav\.json does not exist; stage 11 makes it"):
        score_systems(root / "exp", ["text_only"], *arguments)
