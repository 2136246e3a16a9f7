"""A recipe directory on a few utterances of the shipped corpus."""

import os
import shutil
import subprocess
from pathlib import Path

from taste.tables import read_int_table, read_table

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


def run(folder, *options, environment=os.environ):
    environment = {**environment, "OMP_NUM_THREADS": "1"}
    return subprocess.run([RUN, *options], cwd=folder, capture_output=True, text=True, env=environment)


SMALL = [
    "--corpus", "corpus", "--train_parts", "train", "--dev_parts", "", "--dev_utts", "2", "--test_parts", "",
    "--whisper_model", "tiny.en", "--asr_model", "tiny.en", "--kmeans_K", "20", "--nj", "2", "--set_jobs", "2",
]  # fmt: skip
"""Features and units of one small model, in sets of two and three utterances."""


def prepare_small_recipe(folder, pretrained_dir):
    """A recipe directory on five utterances, after the stages before the features."""
    make_recipe_dir(folder, {})
    copy_chapters(CORPUS / "train", folder / "corpus/train", 1, 5)
    result = run(folder, *SMALL, "--pretrained_dir", pretrained_dir, "--stop_stage", "3")
    assert result.returncode == 0, result.stdout + result.stderr


def features_and_units_through(launcher, folder, environment):
    """Run the stages of features and units with `launcher` as cmd.sh's."""
    (folder / "cmd.sh").write_text(f'export train_cmd="{launcher}"\nexport cuda_cmd="{launcher}"\n')
    options = [*SMALL, "--pretrained_dir", ROOT / "pretrained", "--stage", "4", "--stop_stage", "5"]
    return run(folder, *options, environment=environment)


def check_features_and_units(folder, launched_by):
    """Every utterance has features and units, made by two jobs a set, whose logs say who launched them."""
    for name in ("train", "dev"):
        data = folder / "data" / name
        utts = set(read_table(data / "text"))
        assert utts and set(read_table(data / "feats_deep.scp")) == set(read_int_table(data / "utt2s3")) == utts
    for log in (folder / "exp").rglob("*.[12].log"):
        assert launched_by in log.read_text()
    assert len(list((folder / "exp").rglob("*.[12].log"))) == 2 * 2 * 2
    assert not list((folder / "exp").rglob("q.*"))


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
