"""LibriSpeech from OpenSLR 12 (Panayotov et al. 2015): fetched, checked and unpacked part by part."""

from __future__ import annotations

import http.client
import logging
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from taste.errors import RecipeError
from taste.files import file_digest
from taste.progress import progress

logger = logging.getLogger(__name__)

URL = "https://www.openslr.org/resources/12"
MD5 = {  # https://www.openslr.org/resources/12/md5sum.txt
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}
FOLDER_IN_ARCHIVE = "LibriSpeech"
ATTEMPTS = 5
TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 20


def download_parts(root: str | Path, parts: list[str], url: str = URL, remove_archive: bool = False) -> None:
    """Bring parts of LibriSpeech under `root`, as `root/<part>/<speaker>/<chapter>/`.

    A part that is there already is left as it is. A part appears under its name only when its archive's checksum was
    right and all of it is unpacked; a download that was cut off goes on where it stopped.

    Args:
        root: the corpus folder, which stage 1 reads.
        parts: names such as `train-clean-100`.
        url: where `<part>.tar.gz` lies, e.g. a mirror of OpenSLR 12.
        remove_archive: whether an archive is removed once it is unpacked.

    Raises:
        RecipeError: a part that is neither there nor one of LibriSpeech's, no network, a checksum that differs.
    """
    root = Path(root)
    missing = [part for part in parts if not (root / part).is_dir()]
    for part in parts:
        if part not in missing:
            logger.info("%s is there already", root / part)
    for part in missing:
        if part not in MD5:
            raise RecipeError(f"{root / part} does not exist, and is no part of LibriSpeech: {', '.join(MD5)}")
    for part in missing:
        archive = root / f"{part}.tar.gz"
        if not archive.exists():
            _download(f"{url.rstrip('/')}/{part}.tar.gz", archive, root, part)
        logger.info("checking %s", archive)
        if (found := file_digest(archive, "md5")) != MD5[part]:
            raise RecipeError(
                f"{archive} has the MD5 checksum {found}, not {MD5[part]}: it is damaged; remove it and run this again"
            )
        unpack(archive, part, root)
        if remove_archive:
            archive.unlink()


def _download(url: str, archive: Path, root: Path, part: str) -> None:
    """Fetch `url` into `archive`, going on from `<archive>.partial` where an earlier attempt left one."""
    partial = archive.with_name(f"{archive.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch(url, partial)
            partial.replace(archive)
            return
        except urllib.error.HTTPError as error:
            problem: Exception = error
            break  # the server has answered: asking again brings the same answer
        except (OSError, http.client.HTTPException) as error:
            problem = error
            logger.warning("attempt %d of %d: %s: %s", attempt, ATTEMPTS, url, error)
    raise RecipeError(
        f"{url} cannot be fetched ({problem}). Run this again to go on where it stopped. Without a network, put the "
        f"corpus in place by hand, so that {root / part} holds LibriSpeech's <speaker>/<chapter>/ folders or {archive} "
        f"is OpenSLR's archive, or name the folder where you have the corpus instead of {root}"
    )


def _fetch(url: str, partial: Path) -> None:
    """Append what `partial` still lacks of `url` (HTTP Range).

    Raises:
        OSError, HTTPException: no connection, the transfer was cut off, or the disk is full.
    """
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing lies beyond what is there; the checksum decides
            return
        raise
    with response:
        if response.status != 206:  # the server sends the whole file, whatever was asked for
            done = 0
        left = int(response.headers.get("Content-Length", 0))
        with open(partial, "ab" if done else "wb") as stream:
            for block in progress(_blocks(response), f"{url} ({(done + left) / 1e6:.0f} MB)", left >> 20, "MB"):
                stream.write(block)
                left -= len(block)
    if left > 0:
        raise OSError(f"cut off with {left} bytes to come")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := response.read(BLOCK_BYTES):
        yield block


def unpack(archive: str | Path, part: str, root: str | Path) -> None:
    """Unpack `LibriSpeech/<part>` of an archive to `root/<part>`, and the corpus's lists (`SPEAKERS.TXT` …) to `root`.

    Only plain files and folders inside `LibriSpeech/` are accepted, so nothing can be written elsewhere.

    Raises:
        RecipeError: the archive cannot be read, holds anything else, or lacks the part.
    """
    root = Path(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{part}.", suffix=".partial") as name:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                # Python 3.10 before 3.10.12 lacks the filter; _checked_members refuses what it would refuse
                tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
                for member in progress(_checked_members(tar, archive), f"unpack {part}", unit="files"):
                    tar.extract(member, name)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise RecipeError(f"{archive} cannot be unpacked to {root}: {error}") from error
        unpacked = Path(name) / FOLDER_IN_ARCHIVE
        if not (unpacked / part).is_dir():
            raise RecipeError(f"{archive} holds no {FOLDER_IN_ARCHIVE}/{part}; it is not OpenSLR's archive of {part}")
        for listing in unpacked.glob("*.TXT"):
            shutil.move(listing, root / listing.name)
        (unpacked / part).rename(root / part)


def _checked_members(tar: tarfile.TarFile, archive: str | Path) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        path = PurePosixPath(member.name)
        inside = path.parts[:1] == (FOLDER_IN_ARCHIVE,) and ".." not in path.parts
        if not inside or not (member.isfile() or member.isdir()):
            raise RecipeError(f"{archive} holds {member.name}, which LibriSpeech does not; nothing of it was used")
        yield member
