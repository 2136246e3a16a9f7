"""Data directories checked and put in order."""

import random
from pathlib import Path

import pytest

from taste.data_dir.fix import fix_data_dir
from taste.data_dir.split import split_data
from taste.data_dir.validate import validate_data_dir
from taste.errors import RecipeError
from tests.helpers_data_dir import SIZES, add_segments, contents, read, repeat, valid, write


# The faults that people's directories have: the file, what is done to its lines, and what the message has to name.
def _swap(lines):
    lines[3], lines[4] = lines[4], lines[3]


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
    "repeated": ("text", repeat, "text:7: 'bob-00' occurs twice"),
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


def test_a_segment_that_ends_before_it_starts(data_dir):
    lines = read(add_segments(data_dir) / "segments")
    lines[4] = b"ann-04 ann-rec 4.5 4.13"
    write(data_dir / "segments", lines)
    (fault,) = validate_data_dir(data_dir, require_feats=False)
    assert "segments:5: expected 'utt recording start end', end after start, got 'ann-04 ann-rec 4.5 4.13'" in fault
    assert fix_data_dir(data_dir) == (18, 17)
    assert valid(data_dir)


def test_what_cannot_be_mended_changes_nothing(data_dir):
    write(data_dir / "text", [*read(data_dir / "text")[:-1], "éva-03 HELLO <s>".encode()])
    (fault,) = validate_data_dir(data_dir, require_feats=False)
    assert "text:18: holds <s>, </s> or #0" in fault
    before = contents(data_dir)
    assert fix_data_dir(data_dir) == (18, 18)
    assert contents(data_dir) == before and not (data_dir / ".backup").exists()
