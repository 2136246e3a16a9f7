"""Durations and numbers of frames of utterances."""

import numpy as np
import pytest
import soundfile

from taste.archives import ArchiveWriter
from taste.data_dir.lengths import make_utt2dur, make_utt2num_frames
from taste.errors import RecipeError
from taste.tables import read_table
from tests.helpers_data_dir import add_audio, add_segments, read, valid, write


def durations(data_dir):
    return {utt: float(seconds) for utt, seconds in read_table(data_dir / "utt2dur").items()}


@pytest.mark.parametrize("read_entire_file", [False, True])
def test_durations_of_audio(data_dir, read_entire_file):
    seconds = add_audio(data_dir)
    assert make_utt2dur(data_dir, read_entire_file=read_entire_file)
    assert durations(data_dir) == pytest.approx(seconds)
    assert valid(data_dir)
    assert not make_utt2dur(data_dir)  # as it is there


def test_audio_that_cannot_be_read_is_named(data_dir, caplog):
    add_audio(data_dir)
    (data_dir / "joe-03.wav").write_bytes(b"no audio")
    assert make_utt2dur(data_dir)
    assert len(durations(data_dir)) == 17
    assert "left out joe-03" in caplog.text
    for number in range(8):
        (data_dir / f"joe-0{number}.wav").unlink()
    for number in range(4):
        (data_dir / f"éva-0{number}.wav").unlink()
    with pytest.raises(RecipeError, match=r"only 6 of 18 utterances of .* have a duration"):
        make_utt2dur(data_dir)


def test_commands_run_only_when_they_may(data_dir):
    seconds = add_audio(data_dir)
    lines = [line.decode().split(None, 1) for line in read(data_dir / "wav.scp")]
    write(data_dir / "wav.scp", [f"{utt} cat '{path}' |".encode() for utt, path in lines])
    with pytest.raises(RecipeError, match="only with --allow_pipes true"):
        make_utt2dur(data_dir)
    assert make_utt2dur(data_dir, allow_pipes=True)
    assert durations(data_dir) == pytest.approx(seconds)


def test_durations_of_segments_and_of_frames(data_dir):
    (data_dir / "utt2dur").unlink()
    write(data_dir / "utt2num_frames", [line.split()[0] + b" 100" for line in read(data_dir / "utt2spk")])
    (data_dir / "frame_shift").write_text("0.02\n")
    make_utt2dur(data_dir)
    assert set(durations(data_dir).values()) == {2.03}  # (100 + 1.5) * 0.02
    (data_dir / "utt2dur").unlink()
    add_segments(data_dir)
    make_utt2dur(data_dir)
    assert set(durations(data_dir).values()) == {0.5}


def test_frames_of_features_and_of_durations(data_dir):
    make_utt2num_frames(data_dir)
    assert read(data_dir / "utt2num_frames")[0] == b"ann-00 123"  # (1.25 - 0.015) / 0.01
    (data_dir / "utt2num_frames").unlink()
    utts = [line.split()[0].decode() for line in read(data_dir / "utt2spk")]
    with ArchiveWriter(data_dir / "feats.ark", data_dir / "feats.scp") as feats:
        for number, utt in enumerate(utts, start=5):
            feats.write(utt, np.zeros((number, 3), np.float32))
    assert make_utt2num_frames(data_dir)
    assert read(data_dir / "utt2num_frames")[2] == b"ann-02 7"
    assert not make_utt2num_frames(data_dir)
    (data_dir / "utt2dur").unlink()
    (data_dir / "wav.scp").unlink()
    make_utt2dur(data_dir, frame_shift=0.02)
    assert durations(data_dir)["ann-02"] == pytest.approx((7 + 1.5) * 0.02)


def test_malformed_lines_are_named(data_dir):
    lines = add_segments(data_dir) and read(data_dir / "segments")
    write(data_dir / "segments", [*lines[:3], b"ann-03 ann-rec 1.0", *lines[4:]])
    (data_dir / "utt2dur").unlink()
    with pytest.raises(RecipeError, match=r"segments:4: 'ann-03 ann-rec 1\.0' is malformed"):
        make_utt2dur(data_dir)
    (data_dir / "frame_shift").write_text("ten\n")
    with pytest.raises(RecipeError, match="frame_shift takes a positive number, got 'ten'"):
        make_utt2dur(data_dir)


def test_nothing_to_tell_durations_from(data_dir):
    for name in ("wav.scp", "utt2dur"):
        (data_dir / name).unlink()
    with pytest.raises(RecipeError, match=r"none of segments, wav\.scp and feats\.scp"):
        make_utt2dur(data_dir)


def test_stereo_lasts_as_long_as_mono(data_dir):
    add_audio(data_dir)
    soundfile.write(data_dir / "ann-00.wav", np.zeros((8000, 2), np.float32), 16000)
    make_utt2dur(data_dir, read_entire_file=True)
    assert durations(data_dir)["ann-00"] == 0.5
