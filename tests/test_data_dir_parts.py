"""Data directories split, and subsets of them."""

from pathlib import Path

import pytest

from taste.data_dir.split import balanced_bounds, split_data
from taste.data_dir.subset import spread, subset_by_list, subset_by_number
from taste.errors import RecipeError
from tests.helpers_data_dir import SIZES, read, valid, write


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
