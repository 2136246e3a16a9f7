"""Data directories copied under other names, and at another speed."""

import json
import shutil

import pytest

from taste.data_dir.copy import Renaming, copy_data_dir
from taste.data_dir.speed import command_at_speed, perturb_data_dir_speed
from taste.errors import RecipeError
from tests.helpers_data_dir import add_segments, contents, read, valid, write


def test_a_copy_is_the_same(data_dir, tmp_path):
    copy_data_dir(data_dir, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(data_dir)
    assert (tmp_path / "copy" / "feats_deep.scp").is_symlink()


def test_a_copy_under_other_names(data_dir, tmp_path):
    copy = tmp_path / "copy"
    copy_data_dir(data_dir, copy, utt=Renaming(b"1-", b"-x"), spk=Renaming(b"1-"))
    assert valid(copy)
    assert read(copy / "utt2spk")[0] == b"1-ann-00-x 1-ann"
    assert read(copy / "spk2utt")[1] == b"1-bob 1-bob-00-x"
    assert read(copy / "utt2uniq")[0] == b"1-ann-00-x ann-00"
    assert read(copy / "text")[-1] == "1-éva-03-x HELLO ÄPFEL 18".encode()
    assert json.loads(read(copy / "data.jsonl")[0]) == {"utt": "1-ann-00-x", "text": "ÄPFEL"}
    for name in ("wav.scp", "utt2s3", "feats_l2.scp", "utt2words"):
        old, new = (line.split(b" ", 1)[1] for line in (read(data_dir / name)[5], read(copy / name)[5]))
        assert old == new


def test_the_names_before_are_known_after_two_copies(data_dir, tmp_path):
    copy_data_dir(data_dir, tmp_path / "one", utt=Renaming(b"1-"), spk=Renaming(b"1-"))
    copy_data_dir(tmp_path / "one", tmp_path / "two", utt=Renaming(b"2-"), spk=Renaming(b"2-"))
    assert read(tmp_path / "two" / "utt2uniq")[0] == b"2-1-ann-00 ann-00"


def test_recordings_keep_their_names(data_dir, tmp_path):
    add_segments(data_dir)
    copy_data_dir(data_dir, tmp_path / "copy", utt=Renaming(b"1-"), spk=Renaming(b"1-"))
    assert valid(tmp_path / "copy")
    assert (tmp_path / "copy" / "wav.scp").read_bytes() == (data_dir / "wav.scp").read_bytes()
    assert read(tmp_path / "copy" / "segments")[0] == b"1-ann-00 ann-rec 0.13 0.63"


def test_a_suffix_that_changes_the_order(data_dir, tmp_path):
    for name in ("utt2spk", "text"):
        write(data_dir / name, [b"a 1", b"a-b 1"])
    for path in data_dir.iterdir():
        if path.name not in ("utt2spk", "text"):
            path.unlink()
    copy_data_dir(data_dir, tmp_path / "copy", utt=Renaming(suffix=b"-x"))
    assert read(tmp_path / "copy" / "text") == read(tmp_path / "copy" / "utt2spk") == [b"a-b-x 1", b"a-x 1"]


def test_what_the_source_lacks_is_set_aside(data_dir, tmp_path):
    copy = tmp_path / "copy"
    copy_data_dir(data_dir, copy)
    for name in ("utt2s3", "units.json"):
        (data_dir / name).unlink()
    copy_data_dir(data_dir, copy)
    assert contents(copy) == contents(data_dir)
    assert {path.name for path in (copy / ".backup").iterdir()} == {"utt2s3", "units.json"}


def test_a_malformed_line_leaves_the_copy_as_it_was(data_dir, tmp_path):
    copy_data_dir(data_dir, tmp_path / "copy")
    before = contents(tmp_path / "copy")
    write(data_dir / "utt2dur", [b"", *read(data_dir / "utt2dur")])
    with pytest.raises(RecipeError, match=r"utt2dur is malformed; utils/validate_data_dir\.sh"):
        copy_data_dir(data_dir, tmp_path / "copy", utt=Renaming(b"1-"))
    assert contents(tmp_path / "copy") == before
    with pytest.raises(RecipeError, match="both source and destination"):
        copy_data_dir(data_dir, data_dir)


def test_speed(data_dir, tmp_path, sox, caplog):
    fast = tmp_path / "fast"
    perturb_data_dir_speed("1.25", data_dir, fast)
    assert valid(fast)
    assert read(fast / "utt2spk")[0] == b"sp1.25-ann-00 sp1.25-ann"
    assert read(fast / "utt2uniq")[0] == b"sp1.25-ann-00 ann-00"
    assert read(fast / "utt2dur")[3] == read(fast / "reco2dur")[3] == b"sp1.25-ann-03 3.4"
    assert read(fast / "utt2words")[0] == "sp1.25-ann-00 HELLO 0.000 0.400 ÄPFEL 0.400 1.000".encode()
    assert read(fast / "wav.scp")[0] == (
        b"sp1.25-ann-00 sox '/corpus/of mine/ann-00.flac' -t wav - speed 1.25 |"  # a path with a space
    )
    for name in ("utt2token", "tokens.json", "text"):
        assert (fast / name).exists()
    for name in ("utt2s3", "units.json", "feats_l2.scp", "feats_deep.scp", "feats.json", "spk_emb.scp", "data.jsonl"):
        assert not (fast / name).exists()
        assert name in caplog.text


def test_speed_without_prefix_of_speakers(data_dir, tmp_path, sox):
    perturb_data_dir_speed("0.9", data_dir, tmp_path / "slow", include_spk_prefix=False)
    assert read(tmp_path / "slow" / "utt2spk")[0] == b"ann-00-sp0.9 ann"
    assert read(tmp_path / "slow" / "wav.scp")[0].startswith(b"ann-00-sp0.9 sox ")


def test_speed_of_segments(data_dir, tmp_path, sox):
    add_segments(data_dir)
    lines = read(data_dir / "segments")
    lines[2] = b"ann-02 ann-rec 2.13 2.135"
    write(data_dir / "segments", lines)
    perturb_data_dir_speed("0.5", data_dir, tmp_path / "slow")
    assert read(tmp_path / "slow" / "segments")[:2] == [
        b"sp0.5-ann-00 sp0.5-ann-rec 0.26 1.26",
        b"sp0.5-ann-01 sp0.5-ann-rec 2.26 3.26",
    ]
    perturb_data_dir_speed("1.1", data_dir, tmp_path / "fast")
    assert b"sp1.1-ann-02" not in (tmp_path / "fast" / "text").read_bytes()  # shorter than 0.01 s


def test_commands_of_wav_scp_at_another_speed():
    assert (
        command_at_speed("sph2pipe -f wav a.sph |", "0.9")
        == "sph2pipe -f wav a.sph | sox -t wav - -t wav - speed 0.9 |"
    )
    assert command_at_speed("a.wav", "0.9") == "sox -t wav a.wav -t wav - speed 0.9 |"
    assert command_at_speed("a.ark:12", "0.9") == "wav-copy a.ark:12 - | sox -t wav - -t wav - speed 0.9 |"


def test_speed_needs_sox_and_a_number(data_dir, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match="<warping-factor> takes a positive number, got 'fast'"):
        perturb_data_dir_speed("fast", data_dir, tmp_path / "fast")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="sox is not found"):
        perturb_data_dir_speed("1.1", data_dir, tmp_path / "fast")


@pytest.mark.skipif(not shutil.which("sox"), reason="sox is not installed")
def test_the_command_changes_the_duration(data_dir, tmp_path):
    from taste.audio import read_audio
    from tests.helpers_data_dir import add_audio

    seconds = add_audio(data_dir)
    perturb_data_dir_speed("1.25", data_dir, tmp_path / "fast")
    for line in read(tmp_path / "fast" / "wav.scp")[:3]:
        utt, source = line.decode().split(None, 1)
        samples, rate = read_audio(source, allow_pipes=True)
        assert len(samples) / rate == pytest.approx(seconds[utt.removeprefix("sp1.25-")] / 1.25, abs=0.001)
