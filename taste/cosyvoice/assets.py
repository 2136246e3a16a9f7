"""The directory of CosyVoice-300M: fetched from ModelScope once, or taken as the user has it."""

from __future__ import annotations

import logging
from pathlib import Path

from taste.errors import RecipeError

logger = logging.getLogger(__name__)

MODEL_ID = "iic/CosyVoice-300M"  # on ModelScope
FOLDER = "CosyVoice-300M"  # in the directory of the pretrained models
FILES = ("cosyvoice.yaml", "llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v1.onnx")
GIT_LFS_POINTER = b"version https://git-lfs"


def prepare_cosyvoice(pretrained_dir: str | Path, cosyvoice_dir: str | Path | None = None) -> Path:
    """The directory that holds CosyVoice-300M's `FILES`.

    Args:
        pretrained_dir: `CosyVoice-300M` in it is where the files are fetched to, unless they are there.
        cosyvoice_dir: a directory that has them; it is taken as it is, and nothing is fetched.

    Raises:
        RecipeError: files are missing from `cosyvoice_dir`, or cannot be fetched.
    """
    if cosyvoice_dir:
        return check_cosyvoice_dir(cosyvoice_dir)
    folder = Path(pretrained_dir) / FOLDER
    if not unusable_files(folder):
        return folder
    return fetch_cosyvoice(folder)


def check_cosyvoice_dir(cosyvoice_dir: str | Path) -> Path:
    """Return a directory that holds all `FILES`.

    Raises:
        RecipeError: it does not; with the names of those that are missing, empty or mere pointers of git-lfs.
    """
    cosyvoice_dir = Path(cosyvoice_dir)
    if faults := unusable_files(cosyvoice_dir):
        raise RecipeError(
            f"{cosyvoice_dir} is no complete CosyVoice-300M: {', '.join(faults)}. It should hold {', '.join(FILES)} of "
            f"the model {MODEL_ID} on ModelScope"
        )
    return cosyvoice_dir


def unusable_files(folder: Path) -> list[str]:
    """Those of `FILES` that `folder` lacks, or that hold nothing of use, each with what is wrong."""
    faults = []
    for name in FILES:
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
            continue
        with open(path, "rb") as stream:
            start = stream.read(len(GIT_LFS_POINTER))
        if not start:
            faults.append(f"{name} is empty")
        elif start == GIT_LFS_POINTER:
            faults.append(f"{name} is a pointer of git-lfs (git lfs pull fetches the file)")
    return faults


def fetch_cosyvoice(folder: Path) -> Path:
    """Fetch `FILES` into `folder` with the modelscope package.

    It compares each file with the size and the SHA-256 of ModelScope's listing before the file appears under its name,
    keeps what is there already, and goes on where a download was cut off.

    Raises:
        RecipeError: no modelscope package, no network, or a file that is damaged or no longer in the model; with what
            to put where by hand.
    """
    by_hand = (
        f"Without a network, get {', '.join(FILES)} of {MODEL_ID} on a machine that has one, and put them in {folder} "
        f"or name their directory with --cosyvoice_dir"
    )
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise RecipeError(
            f"CosyVoice-300M is fetched by the modelscope package ({error}): pip install -r "
            f"requirements-modelscope.txt. {by_hand}"
        ) from error
    logger.info("fetching CosyVoice-300M (%s on ModelScope) into %s", MODEL_ID, folder)
    try:
        snapshot_download(MODEL_ID, local_dir=str(folder), allow_patterns=list(FILES))
    except Exception as error:  # its own errors and those of requests have no base class in common
        raise RecipeError(
            f"CosyVoice-300M cannot be fetched from ModelScope ({error}). Run this again to go on where it stopped. "
            f"{by_hand}"
        ) from error
    return check_cosyvoice_dir(folder)
