"""lhotse reads our data directories as Kaldi's (`lhotse kaldi import`)."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from taste.data_dir.lengths import make_utt2dur
from taste.data_dir.speed import perturb_data_dir_speed
from tests.helpers_data_dir import add_audio, read, write

LHOTSE = Path(sys.executable).with_name("lhotse")
pytestmark = pytest.mark.skipif(not LHOTSE.exists(), reason="lhotse is not installed: see tests/requirements.txt")


def imported(data_dir, manifests):
    """The recordings and supervisions that lhotse makes of a directory, by id."""
    command = [LHOTSE, "kaldi", "import", data_dir, "16000", manifests]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = []
    for name in ("recordings", "supervisions"):
        path = manifests / f"{name}.jsonl.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines() if path.exists() else []
        found.append({record["id"]: record for record in map(json.loads, lines)})
    return found


@pytest.mark.parametrize("with_segments", [False, True])
def test_utterances(data_dir, tmp_path, with_segments):
    seconds = add_audio(data_dir)
    if with_segments:
        make_utt2dur(data_dir)
        write(data_dir / "reco2dur", read(data_dir / "utt2dur"))
        write(data_dir / "segments", [f"{utt} {utt} 0 {length:.6g}".encode() for utt, length in seconds.items()])
    recordings, supervisions = imported(data_dir, tmp_path / "manifests")
    assert list(recordings) == list(supervisions) == list(seconds)
    for number, (utt, supervision) in enumerate(supervisions.items(), start=1):
        assert recordings[utt]["sources"][0]["source"] == f"{data_dir}/{utt}.wav"
        assert recordings[utt]["duration"] == supervision["duration"] == pytest.approx(seconds[utt])
        assert (supervision["recording_id"], supervision["speaker"]) == (utt, utt.split("-")[0])
        assert supervision["text"] == f"HELLO ÄPFEL {number}"


def test_another_speed(data_dir, tmp_path, sox):
    seconds = add_audio(data_dir)
    perturb_data_dir_speed("0.5", data_dir, tmp_path / "slow")
    recordings, _ = imported(tmp_path / "slow", tmp_path / "manifests")  # runs no command to learn the durations
    recording = recordings["sp0.5-joe-02"]
    assert recording["duration"] == pytest.approx(2 * seconds["joe-02"])
    (source,) = recording["sources"]
    assert (source["type"], source["source"][:4]) == ("command", "sox ")
