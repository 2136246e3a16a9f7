import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taste.data_dir_fix import fix_data_dir
from taste.data_dir_split import balanced_bounds, split_data
from taste.data_dir_subset import spread, subset_by_list, subset_by_number
from taste.data_dir_validate import validate_data_dir
from taste.errors import RecipeError

UTILS = Path(__file__).resolve().parents[1] / "utils"
SIZES = {"ann": 5, "bob": 1, "joe": 8, "éva": 4}  # utterances of each speaker
needs_kaldi = pytest.mark.skipif("KALDI_ROOT" not in os.environ, reason="KALDI_ROOT is not set: no Kaldi here")


def write(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def read(path):
    return path.read_bytes().splitlines()


def make_data_dir(data_dir, project_files=True):
    """A data directory with every file that the stages write."""
    data_dir.mkdir(parents=True)
    utts = [(f"{spk}-{number:02d}", spk) for spk, size in SIZES.items() for number in range(size)]
    tables = {
        "wav.scp": "/corpus/of mine/{utt}.flac",
        "text": "HELLO ÄPFEL {number}",
        "utt2spk": "{spk}",
        "utt2dur": "{number}.25",
    }
    if project_files:
        tables |= {
            "utt2s3": "17 950 {number}",
            "utt2token": "50 {number}",
            "feats_l2.scp": "/dump/l 2.ark:{number}",
            "feats_last.scp": "/dump/last.ark:{number}",
            "spk_emb.scp": "/dump/spk.ark:{number}",
            "utt2words": "HELLO 0.0 0.5 ÄPFEL 0.5 1.25",
        }
    for name, value in tables.items():
        lines = [f"{utt} {value.format(utt=utt, spk=spk, number=i + 1)}" for i, (utt, spk) in enumerate(utts)]
        write(data_dir / name, [line.encode() for line in lines])
    spk2utt = [" ".join([spk, *(utt for utt, owner in utts if owner == spk)]) for spk in SIZES]
    write(data_dir / "spk2utt", [line.encode() for line in spk2utt])
    if project_files:
        (data_dir / "feats_deep.scp").symlink_to("feats_last.scp")
        (data_dir / "feats_shallow.scp").symlink_to("feats_l2.scp")
        records = [json.dumps({"utt": utt, "text": "ÄPFEL"}, ensure_ascii=False).encode() for utt, _ in utts]
        write(data_dir / "data.jsonl", records)
        for name in ("units.json", "feats.json", "tokens.json", "spk_emb.json"):
            (data_dir / name).write_text('{"made by": "a test"}\n')
    return data_dir


@pytest.fixture
def data_dir(tmp_path):
    return make_data_dir(tmp_path / "data dir" / "train")


def valid(data_dir):
    return validate_data_dir(data_dir, require_feats=False) == []


def contents(data_dir):
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and ".backup" not in path.parts
    }


# The faults that people's directories have: the file, what is done to its lines, and what the message has to name.
def _swap(lines):
    lines[3], lines[4] = lines[4], lines[3]


def _repeat(lines):
    lines.insert(6, lines[5] + b" again")


def _line(index, function):
    def change(lines):
        lines[index] = function(lines[index])

    return change


def _every(function):
    def change(lines):
        lines[:] = map(function, lines)

    return change


MENDED = {
    "unsorted": ("text", _swap, "text:5: 'ann-03' is out of order"),
    "unsorted archive list": ("feats_l2.scp", _swap, "feats_l2.scp:5: 'ann-03' is out of order"),
    "repeated": ("text", _repeat, "text:7: 'bob-00' occurs twice"),
    "carriage returns": ("text", _every(lambda line: line + b"\r"), "text:1: holds a carriage return"),
    "tabs": ("text", _every(lambda line: line.replace(b" ", b"\t")), "text:1: holds a tab"),
    "tab after the id": ("wav.scp", _every(lambda line: line.replace(b" ", b"\t", 1)), "wav.scp:1: holds a tab"),
    "empty line": ("utt2dur", lambda lines: lines.insert(2, b""), "utt2dur:3: "),
    "no-break space": ("text", _line(7, lambda line: line.replace(b"O ", b"O\xc2\xa0")), "text:8: holds white space"),
    "spk2utt unsorted": ("spk2utt", lambda lines: lines.reverse(), "spk2utt:2: 'joe' is out of order"),
    "spk2utt of others": ("spk2utt", _line(0, lambda line: line + b" bob-00"), "spk2utt and utt2spk do not match"),
}
LEFT_OUT = {
    "latin1": ("text", _line(4, lambda line: line + b" \xe9"), "text:5: not valid UTF-8"),
    "missing from text": ("text", lambda lines: lines.pop(4), "text: 1 ids of utt2spk are missing, first 'ann-04'"),
    "missing units": ("utt2s3", lambda lines: lines.pop(4), "utt2s3: 1 ids of utt2spk are missing, first 'ann-04'"),
    "missing speaker": ("utt2spk", lambda lines: lines.pop(4), "text:5: 1 ids are not in utt2spk, first 'ann-04'"),
    "missing pair": ("data.jsonl", lambda lines: lines.pop(4), "data.jsonl: 1 ids of utt2spk are missing"),
    "id with a space": ("utt2spk", _line(4, lambda line: b"ann 04 ann"), "utt2spk:5: 'utt spk' is expected"),
    "no duration": ("utt2dur", _line(4, lambda line: b"ann-04 0.00"), "utt2dur:5: expected 'utt seconds', more than 0"),
    "no path": ("wav.scp", _line(4, lambda line: b"ann-04"), "wav.scp:5: expected 'utt path'"),
    "tilde": ("wav.scp", _line(4, lambda line: b"ann-04 ~/a.wav"), "wav.scp:5: expected 'utt path'"),
    "no integer": ("utt2s3", _line(4, lambda line: line + b" 1.5"), "utt2s3:5: expected 'utt unit unit …'"),
    "no JSON": ("data.jsonl", _line(4, lambda line: line[:-1]), "data.jsonl:5: expected '{"),
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_can_be_mended_is_named_and_mended_without_loss(data_dir, fault):
    name, change, message = MENDED[fault]
    good = contents(data_dir)
    lines = read(data_dir / name)
    change(lines)
    write(data_dir / name, lines)
    bad = (data_dir / name).read_bytes()
    assert message in "\n".join(validate_data_dir(data_dir, require_feats=False))
    assert fix_data_dir(data_dir) == (18, 18)
    assert valid(data_dir)
    assert contents(data_dir) == good
    assert (data_dir / ".backup" / name).read_bytes() == bad


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_an_utterance_at_fault_is_named_and_left_out_everywhere(data_dir, fault):
    name, change, message = LEFT_OUT[fault]
    lines = read(data_dir / name)
    change(lines)
    write(data_dir / name, lines)
    assert message in "\n".join(validate_data_dir(data_dir, require_feats=False))
    assert fix_data_dir(data_dir)[1] == 17
    assert valid(data_dir)
    assert not any(b"ann-04" in content for content in contents(data_dir).values())
    assert b"ann-04" in (data_dir / ".backup" / "feats_l2.scp").read_bytes()
    assert (data_dir / "feats_deep.scp").readlink() == Path("feats_last.scp")


def test_missing_final_newline(data_dir):
    path = data_dir / "text"
    path.write_bytes(path.read_bytes()[:-1])
    assert "text:18: the last line has no newline" in validate_data_dir(data_dir, require_feats=False)[0]
    fix_data_dir(data_dir)
    assert valid(data_dir)


def test_words_may_be_known_for_some_utterances_only(data_dir):
    write(data_dir / "utt2words", read(data_dir / "utt2words")[3:9])
    assert valid(data_dir)
    assert fix_data_dir(data_dir) == (18, 18)
    assert not (data_dir / ".backup").exists()


def test_older_backups_are_kept(data_dir):
    originals = []
    for _ in range(3):
        lines = read(data_dir / "text")
        random.Random(len(originals)).shuffle(lines)
        write(data_dir / "text", lines)
        originals.append((data_dir / "text").read_bytes())
        fix_data_dir(data_dir)
    backups = [path.read_bytes() for path in (data_dir / ".backup").glob("text*")]
    assert sorted(backups) == sorted(originals)


def test_nothing_is_changed_where_nothing_would_remain(data_dir):
    write(data_dir / "utt2s3", [b"other-utt 1 2 3"])
    before = contents(data_dir)
    with pytest.raises(RecipeError, match="no utterance is in all files"):
        fix_data_dir(data_dir)
    assert contents(data_dir) == before


def test_speakers_that_are_no_prefixes_are_told(data_dir):
    utt2spk = dict(line.split() for line in read(data_dir / "utt2spk"))
    utt2spk[b"ann-02"] = b"joe"
    write(data_dir / "utt2spk", [b" ".join(pair) for pair in utt2spk.items()])
    assert "utt2spk:4: not sorted by speaker" in validate_data_dir(data_dir, require_feats=False)[0]
    with pytest.raises(RecipeError, match="make speaker-ids prefixes of utterance-ids"):
        fix_data_dir(data_dir)


def test_utt2spk_is_made_from_spk2utt(data_dir):
    before = contents(data_dir)
    (data_dir / "utt2spk").unlink()
    fix_data_dir(data_dir)
    assert contents(data_dir) == before


def test_a_link_that_leads_nowhere_is_named(data_dir):
    (data_dir / "feats_last.scp").unlink()
    (fault,) = validate_data_dir(data_dir, require_feats=False)
    assert "feats_deep.scp links to feats_last.scp, which does not exist" in fault


def test_recordings_and_segments(data_dir):
    utts = [line.split()[0] for line in read(data_dir / "utt2spk")]
    write(data_dir / "wav.scp", [f"rec-{spk} sox x.flac -t wav - |".encode() for spk in SIZES])
    write(data_dir / "segments", [b"%s rec-%s %d.0 %d.5" % (utt, utt[:-3], i, i) for i, utt in enumerate(utts)])
    assert valid(data_dir)
    split_data(data_dir, 2)
    assert read(data_dir / "split2/1/wav.scp")[0].startswith(b"rec-ann ") and valid(data_dir / "split2" / "2")
    write(data_dir / "wav.scp", read(data_dir / "wav.scp")[1:])
    assert fix_data_dir(data_dir) == (18, 13)
    assert valid(data_dir)


def test_split_keeps_speakers_together(data_dir):
    split_dir = split_data(data_dir, 3)
    parts = [split_dir / str(number) for number in (1, 2, 3)]
    assert all(valid(part) for part in parts)
    speakers = [{line.split()[1] for line in read(part / "utt2spk")} for part in parts]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == len(SIZES)
    for name in ("text", "utt2s3", "feats_l2.scp", "utt2words", "data.jsonl", "wav.scp"):
        assert b"".join((part / name).read_bytes() for part in parts) == (data_dir / name).read_bytes()
    assert (parts[1] / "feats_deep.scp").readlink() == Path("feats_last.scp")
    assert (parts[2] / "units.json").read_bytes() == (data_dir / "units.json").read_bytes()


def test_split_by_utterance(data_dir):
    split_dir = split_data(data_dir, 7, per_utt=True)
    assert split_dir.name == "split7utt"
    assert [len(read(split_dir / str(number) / "text")) for number in range(1, 8)] == [3, 3, 3, 3, 2, 2, 2]
    assert all(valid(split_dir / str(number)) for number in range(1, 8))


def test_split_is_made_again_only_when_the_directory_changed(data_dir):
    text = split_data(data_dir, 2) / "1" / "text"
    first = text.stat().st_mtime_ns
    split_data(data_dir, 2)
    assert text.stat().st_mtime_ns == first
    write(data_dir / "text", [line + b" MORE" for line in read(data_dir / "text")])
    split_data(data_dir, 2)
    assert read(text)[0].endswith(b" MORE")


def test_too_many_parts(data_dir):
    with pytest.raises(RecipeError, match="has 4 speakers, too few for 5 parts; use fewer jobs, or --per-utt"):
        split_data(data_dir, 5)
    with pytest.raises(RecipeError, match="has 18 utterances, too few for 19 parts"):
        split_data(data_dir, 19, per_utt=True)


def test_balanced_bounds():
    assert balanced_bounds([10, 1, 1, 1, 1, 10], 2) == [0, 3, 6]
    assert balanced_bounds([1, 1, 1, 9], 2) == [0, 3, 4]
    assert balanced_bounds([3] * 6, 6) == list(range(7))


@pytest.mark.parametrize("way", ["spread", "first", "last", "shortest", "speakers", "per_spk"])
def test_subset(data_dir, tmp_path, way):
    dest = tmp_path / "sub"
    before, after = subset_by_number(data_dir, 3, dest, way)
    assert valid(dest)
    assert (dest / "feats_deep.scp").readlink() == Path("feats_last.scp")
    assert (dest / "feats.json").exists()
    utts = [line.split()[0].decode() for line in read(dest / "utt2spk")]
    assert (before, after) == (18, len(utts))
    expected = {
        "first": ["ann-00", "ann-01", "ann-02"],
        "last": ["éva-01", "éva-02", "éva-03"],
        "shortest": ["ann-00", "ann-01", "ann-02"],
        "spread": ["joe-02", "joe-06", "éva-03"],
        "per_spk": ["ann-00", "ann-01", "ann-02", "bob-00", "joe-00", "joe-02", "joe-04", "éva-00", "éva-01", "éva-02"],
    }
    if way == "speakers":
        assert len(utts) >= 3 and all(sum(u.startswith(s) for u in utts) in (0, SIZES[s]) for s in SIZES)
    else:
        assert utts == expected[way]


def test_spread_is_even():
    assert spread(8, 4) == [1, 3, 5, 7]
    assert len(spread(1000, 333)) == 333


def test_subset_by_lists(data_dir, tmp_path, caplog):
    (tmp_path / "list").write_text("joe-03 whatever\nann-00\nnobody\n")
    assert subset_by_list(data_dir, tmp_path / "list", tmp_path / "utts", of="utt") == (18, 2)
    assert "1 ids of" in caplog.text and "'nobody'" in caplog.text
    assert [line.split()[0] for line in read(tmp_path / "utts/text")] == [b"ann-00", b"joe-03"]
    (tmp_path / "list").write_text("bob\néva\n")
    assert subset_by_list(data_dir, tmp_path / "list", tmp_path / "spks", of="spk") == (18, 5)
    assert valid(tmp_path / "spks")
    with pytest.raises(RecipeError, match="none of the 2 ids"):
        subset_by_list(data_dir, tmp_path / "list", tmp_path / "none", of="utt")
    with pytest.raises(RecipeError, match="18 utterances; 19 cannot be chosen"):
        subset_by_number(data_dir, 19, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def tool(name, *arguments, folder=UTILS, **options):
    command = [str(argument) for argument in (folder / name, *arguments)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, env=environment, **options)


def test_tools_from_the_command_line(data_dir, tmp_path):
    assert tool("validate_data_dir.sh", "--no-feats", data_dir).returncode == 0
    result = tool("validate_data_dir.sh", data_dir)
    assert (result.returncode, b"no such file" in result.stdout, b"--no-feats" in result.stdout) == (1, True, True)
    assert tool("split_data.sh", "--per-utt", data_dir, 4).returncode == 0
    assert tool("subset_data_dir.sh", "--first", data_dir, 4, tmp_path / "sub").stdout.endswith(b"from 18 to 4\n")
    assert tool("fix_data_dir.sh", tmp_path / "sub").stdout == b"fix_data_dir.sh: kept all 4 utterances.\n"
    for name in ("validate_data_dir.sh", "split_data.sh", "subset_data_dir.sh", "fix_data_dir.sh", "filter_scp.pl"):
        assert tool(name).stdout.count(b"Usage: utils/" + name.encode()) == 1
        assert tool(name).returncode == 1
    utt2spk = tool("spk2utt_to_utt2spk.pl", data_dir / "spk2utt").stdout
    assert utt2spk == (data_dir / "utt2spk").read_bytes()
    assert tool("utt2spk_to_spk2utt.pl", input=utt2spk).stdout == (data_dir / "spk2utt").read_bytes()
    result = tool("filter_scp.pl", "missing", data_dir / "text")
    assert (result.returncode, result.stderr) == (1, b"filter_scp.pl: error: missing: No such file or directory\n")


@pytest.fixture
def kaldi(tmp_path, data_dir):
    """Runs a tool of Kaldi's in a folder whose utils are Kaldi's."""
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "utils").symlink_to(Path(os.environ["KALDI_ROOT"]) / "egs/wsj/s5/utils")
    (tmp_path / "kaldi" / "path.sh").touch()

    def call(name, *arguments, **options):
        return tool(name, *arguments, folder=Path("utils"), cwd=tmp_path / "kaldi", **options)

    return call


@needs_kaldi
def test_kaldi_takes_our_directories(kaldi, tmp_path):
    # Kaldi's scripts cannot have spaces in paths, nor, where the locale is called C.utf8, other letters than ASCII's
    plain = make_data_dir(tmp_path / "plain")
    for table in plain.iterdir():
        if table.is_file() and not table.is_symlink():
            table.write_bytes(table.read_bytes().decode().replace("é", "z").replace("Ä", "A").encode())
    split_data(plain, 2)
    for directory in (plain, plain / "split2/1", plain / "split2/2"):
        result = kaldi("validate_data_dir.sh", "--no-feats", directory)
        assert result.returncode == 0, result.stdout + result.stderr


@needs_kaldi
@pytest.mark.parametrize("arguments", [["2"], ["3"], ["4"], ["--per-utt", "5"], ["--per-utt", "18"]])
def test_kaldi_splits_alike(kaldi, tmp_path, arguments):
    ours, theirs = (make_data_dir(tmp_path / name, project_files=False) for name in ("ours", "theirs"))
    *options, parts = arguments
    assert tool("split_data.sh", *options, ours, parts).returncode == 0
    assert kaldi("split_data.sh", *options, theirs, parts).returncode == 0
    assert contents(ours) == contents(theirs)


@needs_kaldi
@pytest.mark.parametrize("option", [None, "--first", "--last", "--shortest", "--per-spk"])
@pytest.mark.parametrize("number", [1, 3, 7, 18])
def test_kaldi_chooses_alike(kaldi, tmp_path, option, number):
    source = make_data_dir(tmp_path / "source", project_files=False)
    frames = [b"%s %d" % (line.split()[0], 900 - 7 * i % 50) for i, line in enumerate(read(source / "utt2spk"))]
    write(source / "utt2num_frames", frames)
    shutil.copy(source / "wav.scp", source / "feats.scp")  # Kaldi wants it for --shortest
    options = [option] if option else []
    assert tool("subset_data_dir.sh", *options, source, number, tmp_path / "ours").returncode == 0
    assert kaldi("subset_data_dir.sh", *options, source, number, tmp_path / "theirs").returncode == 0
    spk2utt = tmp_path / "theirs" / "spk2utt"
    write(spk2utt, [line.strip() for line in read(spk2utt)])  # with --per-spk, Kaldi's lines end in a space
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@needs_kaldi
@pytest.mark.parametrize("name", ["utt2spk", "text", "wav.scp", "utt2dur"])
@pytest.mark.parametrize("change", ["shuffle", "drop", "repeat"])
def test_kaldi_fixes_alike(kaldi, tmp_path, name, change):
    for folder in ("ours", "theirs"):
        data = make_data_dir(tmp_path / folder, project_files=False)
        lines = read(data / name)
        if change == "shuffle":
            random.Random(1).shuffle(lines)
        elif change == "drop":
            del lines[5:8]
        else:
            _repeat(lines)
        write(data / name, lines)
    assert validate_data_dir(tmp_path / "ours", require_feats=False)
    assert tool("fix_data_dir.sh", tmp_path / "ours").returncode == 0
    assert kaldi("fix_data_dir.sh", tmp_path / "theirs").returncode == 0
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@needs_kaldi
@pytest.mark.parametrize("options", [[], ["--exclude"], ["-f", "2"], ["--exclude", "-f", "2"]])
def test_kaldi_filters_alike(kaldi, data_dir, tmp_path, options):
    ids = tmp_path / "ids"
    ids.write_text("joe\nann-03\nann-01 more\nbob\n")
    ours = tool("filter_scp.pl", *options, ids, data_dir / "utt2spk").stdout
    assert ours == kaldi("filter_scp.pl", *options, ids, data_dir / "utt2spk").stdout != b""
