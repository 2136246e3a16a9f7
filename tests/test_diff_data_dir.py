import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from taste.archives import ArchiveWriter
from taste.data_dir.contents import kind_of
from taste.diff.data_dir import DiffOptions, diff_data_dirs
from taste.diff.report import DIFFERENT, SAME, TROUBLE, DiffReport
from taste.errors import RecipeError
from taste.files import write_json
from taste.tables import read_table, write_table
from tests.helpers import make_data_dir

TOOL = Path(__file__).resolve().parents[1] / "utils" / "python" / "diff_data_dir.py"
RATE = 16000


def compare(a, b, **options):
    return diff_data_dirs(a, b, DiffOptions(**options))


def change(path, **values):
    """Change values of a table; None removes the line."""
    table = {**read_table(path), **values}
    write_table(path, {key: value for key, value in table.items() if value is not None})


def samples(seed):
    return np.random.default_rng(seed).integers(-3000, 3000, 1600, dtype=np.int16)


@pytest.fixture
def pair(tmp_path):
    """Two directories of the same contents, their audio and archives under different paths with spaces."""
    for side in "ab":
        data_dir = tmp_path / f"side {side}" / "train"
        utts = make_data_dir(data_dir, 6)
        write_table(data_dir / "wav.scp", {utt: str(data_dir / f"{utt}.wav") for utt in utts})
        for seed, utt in enumerate(utts):
            soundfile.write(data_dir / f"{utt}.wav", samples(seed), RATE)
        write_table(data_dir / "spk2utt", {f"spk{i}": " ".join(utts[i::3]) for i in range(3)})
        records = [{"utt": utt, "audio_path": f"{data_dir}/{utt}", "text": "ÄPFEL"} for utt in sorted(utts)]
        (data_dir / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path / "side a" / "train", tmp_path / "side b" / "train"


def test_the_same_contents_under_other_paths_are_the_same(pair):
    a, b = pair
    result = compare(a, b)
    assert (result.differs, result.is_incomplete) == (False, False)
    # found by looking into the files, not by leaving them out
    assert {name: table.written_differently for name, table in result.tables.items() if table.written_differently} == {
        "wav.scp": 6, "feats_deep.scp": 6, "feats_shallow.scp": 6, "spk_emb.scp": 6, "data.jsonl": 6,
    }  # fmt: skip
    assert DiffReport(a, b, DiffOptions()).status == SAME


def test_utterances_that_one_side_lacks_are_told_once(pair):
    a, b = pair
    gone = "spk1-utt0001"
    for path in b.iterdir():
        if kind_of(path.name) in ("utt", "reco") and path.name != "data.jsonl":
            change(path, **{gone: None})
    change(b / "spk2utt", spk1="spk1-utt0004")
    lines = [line for line in (b / "data.jsonl").read_text().splitlines(True) if gone not in line]
    (b / "data.jsonl").write_text("".join(lines))
    result = compare(a, b)
    assert (result.only_a.first, result.only_b.count) == ([gone], 0)
    assert not any(table.differs for table in result.tables.values())
    assert compare(b, a).only_b.first == [gone]
    change(b / "text", **{"spk2-utt0002": None})  # but one that a single table lacks is that table's business
    assert compare(a, b).tables["text"].only_a.first == ["spk2-utt0002"]


def test_values(pair):
    a, b = pair
    change(a / "text", **{"spk0-utt0000": "HELLO GREEN WORLD", "spk1-utt0001": "SAME"})
    change(b / "text", **{"spk0-utt0000": "HELLO WORLD OVER THERE", "spk1-utt0001": "SAME"})
    change(a / "utt2dur", **{"spk0-utt0000": "3.50", "spk0-utt0003": "2.0", "spk1-utt0001": "2.0"})
    change(b / "utt2dur", **{"spk0-utt0000": "3.5", "spk0-utt0003": "2.25", "spk1-utt0001": "1.0"})
    change(a / "utt2s3", **{"spk0-utt0000": "1 2 3 4 5 6"})
    change(b / "utt2s3", **{"spk0-utt0000": "1 2 4 5 9 6"})
    change(b / "utt2spk", **{"spk0-utt0000": "spk00"})
    write_json(b / "units.json", {**json.loads((b / "units.json").read_text()), "K": 99})
    result = compare(a, b)
    text = result.tables["text"]
    assert (text.changed.count, text.figures["edits"], text.figures["elements"]) == (1, 3, 3)
    assert text.changed.first[0]["difference"] == "3 edits, from word 2 (of 3 and 4): GREEN WORLD → WORLD OVER THERE"
    duration = result.tables["utt2dur"]
    assert (duration.changed.count, duration.written_differently) == (2, 1)
    assert duration.figures == {"mean": 0.625, "largest": 1.0, "largest_id": "spk1-utt0001", "sum": -0.75}
    assert result.tables["utt2s3"].figures["edits"] == 2
    assert result.tables["utt2s3"].changed.first[0]["b"] == "1 2 4 5 9 6"
    assert result.tables["utt2spk"].changed.first[0]["difference"] == "spk0 → spk00"
    assert result.records["units.json"] == [{"field": "K", "a": 12, "b": 99}]
    assert "differ in K" in result.notes[0]


def test_audio_is_compared_by_its_samples(pair):
    a, b = pair
    flac = b / "as flac.flac"
    soundfile.write(flac, samples(0), RATE)
    louder, shorter, faster = (b / f"{name}.wav" for name in ("louder", "shorter", "faster"))
    soundfile.write(louder, samples(1) + 1, RATE)
    soundfile.write(shorter, samples(2)[:-1], RATE)
    soundfile.write(faster, samples(3), 8000)
    for number, path in enumerate((flac, louder, shorter, faster)):
        change(b / "wav.scp", **{f"spk{number % 3}-utt{number:04d}": str(path)})
    changed = {each["id"]: each["difference"] for each in compare(a, b).tables["wav.scp"].changed.first}
    assert set(changed) == {"spk1-utt0001", "spk2-utt0002", "spk0-utt0003"}
    assert changed["spk2-utt0002"] == "shape (1600,) → (1599,)"
    assert changed["spk0-utt0003"] == "16000 Hz → 8000 Hz"
    assert compare(a, b, tolerance=0.01).tables["wav.scp"].changed.count == 2


def test_commands_of_wav_scp_run_only_when_they_may(pair, tmp_path):
    a, b = pair
    path, proof = read_table(a / "wav.scp")["spk0-utt0000"], tmp_path / "was run"
    change(b / "wav.scp", **{"spk0-utt0000": f"touch '{proof}'; cat '{path}' |"})
    result = compare(a, b)
    assert result.is_incomplete and not proof.exists()
    assert "--allow_pipes true" in result.tables["wav.scp"].not_compared.first[0]["difference"]
    result = compare(a, b, allow_pipes=True)
    assert not (result.is_incomplete or result.differs) and proof.exists()


def test_arrays_by_shape_and_distance(pair):
    a, b = pair
    x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    broken = np.where(x > 2, np.nan, x)
    for side, arrays in ((a, [x, x, x, broken]), (b, [x + 1e-5 * x, x[:-1], 1.5 * x, x])):
        with ArchiveWriter(side / "feats.ark", side / "feats_l2.scp") as archive:
            for utt, array in zip(sorted(read_table(a / "utt2spk")), arrays, strict=False):
                archive.write(utt, array)
    strict, tolerant = (compare(a, b, tolerance=tolerance).tables["feats_l2.scp"] for tolerance in (0, 1e-3))
    assert (strict.changed.count, tolerant.changed.count) == (4, 3)
    figures = tolerant.figures
    assert (figures["read"], figures["equal"], figures["within_tolerance"]) == (4, 0, 1)
    assert (figures["other_shape"], figures["not_finite"]) == (1, 1)
    assert figures["largest"] == pytest.approx(1 / 3)
    assert figures["largest_id"] == "spk1-utt0001"


def test_an_archive_that_cannot_be_read_is_named_and_the_rest_compared(pair):
    a, b = pair
    location = read_table(b / "spk_emb.scp")["spk2-utt0005"]
    change(b / "spk_emb.scp", **{"spk2-utt0005": location.replace(".ark", ".gone")})
    change(b / "utt2dur", **{"spk2-utt0005": "9"})
    report = DiffReport(a, b, DiffOptions())
    assert report.status == TROUBLE
    text = "\n".join(report.text())
    assert "spk_emb.gone cannot be read (No such file or directory)" in text
    assert "utt2dur" in text


def _repeat(lines):
    return [*lines[:2], *lines[1:]]


def _unsort(lines):
    return [lines[0], lines[2], lines[1], *lines[3:]]


def _part(lines):
    return [*lines[:4], b"\n", *lines[4:]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_repeat, "text:3: 'spk0-utt0003' occurs twice; utils/fix_data_dir.sh keeps the first line"),
        (_unsort, "text:3: 'spk0-utt0003' is out of order (LC_ALL=C sort); utils/fix_data_dir.sh sorts the file"),
        (_part, "text:5: a line without an id; utils/fix_data_dir.sh removes it"),
    ],
)
def test_a_table_that_cannot_be_merged_is_named_with_line_and_remedy(pair, damage, message):
    a, b = pair
    (b / "text").write_bytes(b"".join(damage((b / "text").read_bytes().splitlines(True))))
    change(b / "utt2dur", **{"spk2-utt0005": "9"})
    result = compare(a, b)
    assert result.trouble == [f"{b}/{message}"]
    assert result.tables["utt2dur"].changed.count == 1 and "text" not in result.tables


@pytest.mark.parametrize(("old", "new", "sort"), [(b"\n", b"\r\n", "a carriage return"), (b" ", b"\t", "a tab")])
def test_carriage_returns_and_tabs_are_told_from_other_values(pair, old, new, sort):
    a, b = pair
    (b / "text").write_bytes((b / "text").read_bytes().replace(old, new))
    table = compare(a, b).tables["text"]
    assert (table.changed.count, table.white_space.count) == (0, 6)
    assert table.white_space.first[0]["difference"] == f"{b}/text:1 holds {sort}; utils/fix_data_dir.sh removes it"


def test_files_links_and_ids_beyond_ascii(pair):
    a, b = pair
    for side in pair:
        (side / "feats_l2.scp").symlink_to("feats_deep.scp" if side == a else "feats_shallow.scp")
        change(side / "text", **{"éva-1": f"ÜBER {side.parent.name}"})
        change(side / "utt2spk", **{"éva-1": "éva"})
    (b / "tokens.json").unlink()
    (a / "utt2dur").unlink()
    result = compare(a, b)
    assert (result.files_only_a, result.files_only_b) == (["tokens.json"], ["utt2dur"])
    assert result.records["links"] == [{"field": "feats_l2.scp", "a": "feats_deep.scp", "b": "feats_shallow.scp"}]
    assert result.tables["text"].changed.first[0]["id"] == "éva-1"
    (b / "spk_emb.json").write_text("{")
    (b / "feats_last.scp").symlink_to(b / "gone.scp")
    link, record = compare(a, b).trouble
    assert f"{b}/feats_last.scp links to {b}/gone.scp, which does not exist" in link
    assert "spk_emb.json is not valid JSON" in record


def test_segments(pair):
    a, b = pair
    recordings = read_table(a / "wav.scp")
    write_table(a / "segments", {utt: f"{utt} 0.00 0.05" for utt in recordings})
    assert "before the segments are cut, or after" in compare(a, b).trouble[0]
    write_table(b / "segments", {utt: f"{utt} 0.0 0.05" for utt in recordings})
    change(b / "segments", **{"spk0-utt0000": "spk0-utt0000 0.01 0.05", "spk0-utt0003": "spk0-utt0000 0 0.05"})
    change(b / "wav.scp", **{"spk2-utt0002": None})
    result = compare(a, b)
    assert not result.is_incomplete
    assert result.tables["wav.scp"].only_a.first == ["spk2-utt0002"]
    segments = result.tables["segments"]
    assert (segments.changed.count, segments.figures["largest"], segments.written_differently) == (2, 0.01, 4)


def make_system(folder, loss=1.0, **settings):
    folder.mkdir(parents=True)
    settings = {"seed": 1, **settings}
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    circumstances = {"time": str(loss), "seconds": loss, "command": str(folder)}
    write_json(folder / "train.json", {"best": {"dev_loss": loss}, "commit": "abc", **circumstances})


def test_experiments_by_configuration_results_and_commit(tmp_path):
    for side, loss in (("a", 1.0), ("b", 1.5)):
        make_system(tmp_path / side / "taste", loss, dropout=0.1, lr="{lm: 1, speech: 2}")
        make_system(tmp_path / side / "same")
        write_json(tmp_path / side / "results.json", {"systems": {"taste": {"test": {"loss": loss}}}, "commit": side})
    make_system(tmp_path / "b" / "taste_rvq")
    (tmp_path / "b" / "taste" / "config.yaml").write_text("seed: 1\nlr: {lm: 1, speech: 3}\nnew: x\n")
    report = DiffReport(tmp_path / "a", tmp_path / "b", DiffOptions())
    assert report.status == DIFFERENT
    [exp] = json.loads(report.json())["exp"]
    assert exp["files_only_b"] == ["taste_rvq/config.yaml", "taste_rvq/train.json"]
    found = {
        path: {each["field"]: (each.get("a"), each.get("b")) for each in fields}
        for path, fields in exp["files"].items()
    }
    assert found == {
        "results.json": {"systems.taste.test.loss": (1.0, 1.5), "commit": ("a", "b")},
        "same/config.yaml": {}, "same/train.json": {},
        "taste/config.yaml": {"dropout": (0.1, None), "lr.speech": (2, 3), "new": (None, "x")},
        "taste/train.json": {"best.dev_loss": (1.0, 1.5)},
    }  # fmt: skip
    assert DiffReport(tmp_path / "a" / "same", tmp_path / "b" / "same", DiffOptions()).status == SAME
    (tmp_path / "b" / "taste" / "config.yaml").write_text("seed: {1")
    assert DiffReport(tmp_path / "a", tmp_path / "b", DiffOptions()).status == TROUBLE


def test_whole_runs(pair, tmp_path):
    a, b = (tmp_path / side for side in "ab")
    for side, data_dir in zip((a, b), pair, strict=True):
        shutil.copytree(data_dir, side / "data" / "train")
        make_system(side / "exp" / "taste")
    assert DiffReport(a, b, DiffOptions()).status == SAME
    shutil.copytree(pair[1], b / "data" / "dev")
    change(b / "data" / "train" / "utt2s3", **{"spk0-utt0000": "1"})
    report = DiffReport(a, b, DiffOptions())
    assert (report.status, report.only_b) == (DIFFERENT, ["data/dev"])
    assert f"== {a}/data/train and {b}/data/train" in list(report.text())
    (tmp_path / "empty").mkdir()
    for other, message in ((tmp_path / "none", "no such directory"), (tmp_path / "empty", "nothing in common")):
        with pytest.raises(RecipeError, match=message):
            DiffReport(a, other, DiffOptions())
    with pytest.raises(RecipeError, match="of the same sort"):
        DiffReport(a, pair[0], DiffOptions())


def run_tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)


def test_from_the_command_line(pair, tmp_path):
    a, b = pair
    result = run_tool(a, b)
    assert (result.returncode, result.stdout.endswith("\nno differences\n")) == (0, True)
    for utt in list(read_table(b / "text"))[:3]:
        change(b / "text", **{utt: "ÄPFEL"})
    report = run_tool(a, b, "--json", "--show", 2)
    [data] = json.loads(report.stdout)["data"]
    assert (report.returncode, data["tables"]["text"]["changed"]["count"]) == (1, 3)
    assert [each["b"] for each in data["tables"]["text"]["changed"]["first"]] == ["ÄPFEL"] * 2
    for arguments in ((a, tmp_path / "none"), (a,), (a, b, "--unknown"), (a, tmp_path)):
        result = run_tool(*arguments)
        assert (result.returncode, "Traceback" in result.stderr, result.stdout) == (2, False, "")


def test_memory_does_not_grow_with_the_units(tmp_path):
    """60 MB of units, all of them read, within a limit that holds no such table."""
    line = " ".join(["1234"] * 4000)
    for side in "ab":
        (tmp_path / side).mkdir()
        with open(tmp_path / side / "utt2s3", "w") as units, open(tmp_path / side / "utt2spk", "w") as utt2spk:
            for i in range(3000):
                units.write(f"utt{i:05d} {line}{' 5' if side == 'b' and i == 2999 else ''}\n")
                utt2spk.write(f"utt{i:05d} spk\n")
    code = (
        "import resource, sys; from taste.diff.data_dir import *\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "result = diff_data_dirs(sys.argv[1], sys.argv[2], DiffOptions())\n"
        "print(result.tables['utt2s3'].changed.count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, tmp_path / "a", tmp_path / "b"]
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parents[1])}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    changed, kilobytes = map(int, result.stdout.split())
    assert changed == 1
    assert kilobytes < 20_000
