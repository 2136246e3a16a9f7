"""A recipe directory on a few utterances of the shipped corpus."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "egs/mini/corpus"
RUN = ROOT / "egs/librispeech/run.sh"


def make_recipe_dir(folder, settings):
    """Make a directory from which run.sh can be run; `settings` are the files of its conf/. Returns `folder`."""
    (folder / "conf").mkdir(parents=True)
    for name in ("local", "utils", "taste"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "egs/librispeech/cmd.sh", folder)
    (folder / "path.sh").write_text(f'. "{ROOT}/path.sh"\n')
    for name, text in settings.items():
        (folder / "conf" / name).write_text(text)
    return folder


def run(folder, *options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([RUN, *options], cwd=folder, capture_output=True, text=True, env=environment)


def copy_chapters(source, target, utts_a_chapter, chapters):
    """Copy the first utterances of the first chapters of a set, transcripts and word times cut to them."""
    utts = []
    for folder in sorted(source.glob("*/*"))[:chapters]:
        destination = target / folder.parent.name / folder.name
        destination.mkdir(parents=True)
        for path in folder.glob("*.txt"):
            lines = path.read_text().splitlines(keepends=True)[:utts_a_chapter]
            (destination / path.name).write_text("".join(lines))
        transcript = (destination / f"{folder.parent.name}-{folder.name}.trans.txt").read_text()
        for utt in (line.split()[0] for line in transcript.splitlines()):
            shutil.copy(folder / f"{utt}.opus", destination)
            utts.append(utt)
    return utts
