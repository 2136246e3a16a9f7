"""Several data directories as one."""

import json

import pytest

from taste.data_dir.combine import combine_data
from taste.data_dir.copy import Renaming, copy_data_dir
from taste.data_dir.subset import subset_by_number
from taste.errors import RecipeError
from tests.helpers_data_dir import add_segments, contents, read, valid, write


@pytest.fixture
def other(data_dir, tmp_path):
    """The same utterances under other names."""
    copy_data_dir(data_dir, tmp_path / "other", utt=Renaming(b"b-"), spk=Renaming(b"b-"))
    (tmp_path / "other" / "utt2uniq").unlink()
    return tmp_path / "other"


def test_parts_make_the_whole(data_dir, tmp_path):
    subset_by_number(data_dir, 7, tmp_path / "head", "first")
    subset_by_number(data_dir, 11, tmp_path / "tail", "last")
    combine_data(tmp_path / "both", [tmp_path / "tail", tmp_path / "head"])
    assert contents(tmp_path / "both") == contents(data_dir)
    assert (tmp_path / "both" / "feats_shallow.scp").is_symlink()


def test_what_is_not_everywhere_is_left_out(data_dir, other, tmp_path, caplog):
    caplog.set_level("INFO")
    (other / "utt2s3").unlink()
    write(other / "utt2words", read(other / "utt2words")[:2])
    (data_dir / "utt2words").unlink()
    combine_data(tmp_path / "both", [data_dir, other])
    assert valid(tmp_path / "both")
    assert not (tmp_path / "both" / "utt2s3").exists() and not (tmp_path / "both" / "units.json").exists()
    assert "not combining utt2s3 as it does not exist everywhere" in caplog.text
    assert [line[:8] for line in read(tmp_path / "both" / "utt2words")] == [b"b-ann-00", b"b-ann-01"]
    assert len(read(tmp_path / "both" / "text")) == 36


def test_segments_and_old_names_are_made_where_others_have_them(data_dir, other, tmp_path):
    add_segments(data_dir)
    (data_dir / "reco2dur").unlink()
    write(data_dir / "utt2uniq", [line.split()[0] + b" x" for line in read(data_dir / "utt2spk")])
    combine_data(tmp_path / "both", [data_dir, other])
    assert valid(tmp_path / "both")
    segments = read(tmp_path / "both" / "segments")
    assert (segments[0], segments[5]) == (b"ann-00 ann-rec 0.13 0.63", b"b-ann-00 b-ann-00 0 1.25")
    assert read(tmp_path / "both" / "utt2uniq")[4:6] == [b"ann-04 x", b"b-ann-00 b-ann-00"]


def test_extra_files(data_dir, other, tmp_path):
    for source in (data_dir, other):
        write(source / "notes", [line.split()[0] + b" fine" for line in read(source / "utt2spk")])
    combine_data(tmp_path / "both", [data_dir, other], extra_files=["notes"])
    assert len(read(tmp_path / "both" / "notes")) == 36


def test_utterances_that_one_table_lacks_are_left_out_unless_that_is_skipped(data_dir, other, tmp_path):
    write(other / "text", read(other / "text")[1:])
    combine_data(tmp_path / "raw", [data_dir, other], skip_fix=True)
    assert len(read(tmp_path / "raw" / "utt2spk")) == 36 and not valid(tmp_path / "raw")
    combine_data(tmp_path / "both", [data_dir, other])
    assert len(read(tmp_path / "both" / "utt2spk")) == 35 and valid(tmp_path / "both")


@pytest.mark.parametrize(
    ("record", "table", "changed", "told"),
    [
        ("units.json", "utt2s3", {"K": 500}, "differ in K: 200 and 500; make utt2s3 of both"),
        ("tokens.json", "utt2token", {"vocab_size": 7}, "differ in vocab_size"),
        ("feats.json", "feats_l2.scp", {"pad_to_30s": True}, r"differ in pad_to_30s: None and True; make feats_\*.scp"),
        ("spk_emb.json", "spk_emb.scp", {"backend": "campplus"}, "differ in backend"),
    ],
)
def test_tables_of_different_making_are_refused(data_dir, other, tmp_path, record, table, changed, told):
    for source, content in ((data_dir, {"K": 200}), (other, {"K": 200, **changed})):
        (source / record).write_text(json.dumps(content))
    with pytest.raises(RecipeError, match=told):
        combine_data(tmp_path / "both", [data_dir, other])
    (other / record).unlink()
    with pytest.raises(RecipeError, match=f"other/{record} is missing"):
        combine_data(tmp_path / "both", [data_dir, other])
    assert not (tmp_path / "both").exists()
    (other / table).unlink()  # then it is not combined, and there is nothing to refuse
    if record != "feats.json":  # feats_last.scp is there still
        combine_data(tmp_path / "both", [data_dir, other])
        assert valid(tmp_path / "both")


def test_an_utterance_with_two_transcripts_is_refused(data_dir, tmp_path):
    subset_by_number(data_dir, 7, tmp_path / "head", "first")
    write(tmp_path / "head" / "text", [line + b" MORE" for line in read(tmp_path / "head" / "text")])
    with pytest.raises(RecipeError, match="text: different lines for 'ann-00'"):
        combine_data(tmp_path / "both", [data_dir, tmp_path / "head"])
    assert not list((tmp_path / "both").glob("*"))


def test_the_same_utterance_in_two_directories_is_one(data_dir, tmp_path):
    subset_by_number(data_dir, 7, tmp_path / "head", "first")
    combine_data(tmp_path / "both", [data_dir, tmp_path / "head"])
    assert contents(tmp_path / "both") == contents(data_dir)
