"""Data directories for tests of the tools, and calls of the tools."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from taste.data_dir.validate import validate_data_dir

UTILS = Path(__file__).resolve().parents[1] / "utils"
SIZES = {"ann": 5, "bob": 1, "joe": 8, "éva": 4}  # utterances of each speaker


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


def add_audio(data_dir, rate=16000):
    """Give each utterance a file of audio, the first 0.1 s long, the next 0.2 s …; returns the seconds of each."""
    utts = [line.split()[0].decode() for line in read(data_dir / "utt2spk")]
    seconds = {utt: (number + 1) / 10 for number, utt in enumerate(utts)}
    for utt in utts:
        soundfile.write(data_dir / f"{utt}.wav", np.zeros(round(seconds[utt] * rate), np.float32), rate)
    write(data_dir / "wav.scp", [f"{utt} {data_dir}/{utt}.wav".encode() for utt in utts])
    (data_dir / "utt2dur").unlink(missing_ok=True)
    return seconds


def add_segments(data_dir):
    """Make the speakers recordings, of which each utterance is half a second."""
    utts = [line.split()[0] for line in read(data_dir / "utt2spk")]
    recordings = sorted({utt[:-3] + b"-rec" for utt in utts})
    write(data_dir / "wav.scp", [reco + b" /corpus/" + reco + b".wav" for reco in recordings])
    write(data_dir / "reco2dur", [reco + b" 100" for reco in recordings])
    write(data_dir / "segments", [b"%b %b-rec %d.13 %d.63" % (utt, utt[:-3], i, i) for i, utt in enumerate(utts)])
    return data_dir


def valid(data_dir):
    return validate_data_dir(data_dir, require_feats=False) == []


def contents(data_dir):
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and ".backup" not in path.parts
    }


def repeat(lines):
    lines.insert(6, lines[5] + b" again")


def tool(name, *arguments, folder=UTILS, **options):
    command = [str(argument) for argument in (folder / name, *arguments)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, env=environment, **options)
