"""Kaldi archives: matrices and vectors in an ark, found through the byte offsets of an scp."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import kaldiio
import numpy as np
from kaldiio.matio import read_kaldi

from taste.errors import RecipeError, UtteranceError
from taste.files import atomic_path
from taste.tables import write_table

# What kaldiio is told, and the bytes that a value and a column take. Kaldi itself reads float32 and compressed;
# it has no 16-bit type, so float16 is kept in kaldiio's own form, which holds a .npy file.
STORAGE: dict[str, tuple[dict[str, Any], int, int]] = {
    "float32": ({}, 4, 0),
    "float16": ({"write_function": "numpy"}, 2, 0),
    "compressed": ({"compression_method": 2}, 1, 8),
}


def check_storage(storage: str) -> str:
    """Return `storage` if it is one of `STORAGE`.

    Raises:
        RecipeError: it is not.
    """
    if storage not in STORAGE:
        raise RecipeError(f"--storage {storage}: it is one of {', '.join(STORAGE)}")
    return storage


def matrix_bytes(frames: int, dim: int, storage: str) -> int:
    """Bytes that a (frames, dim) matrix takes in an archive, its header and name of some 100 bytes left out."""
    _, per_value, per_column = STORAGE[check_storage(storage)]
    return frames * dim * per_value + dim * per_column


class ArchiveWriter:
    """Writes `NAME.ark` and `NAME.scp`; both appear under their names only when the block ends without an error.

    The scp names the ark by its absolute path, as Kaldi's recipes do.

    Example::

        with ArchiveWriter(ark_dir / "feats.1.ark", data_dir / "feats.scp") as archive:
            archive.write(utt, features)

    Args:
        ark: the archive.
        scp: its index, `utt ark:offset` a line, sorted.
        storage: `float32`; `float16`, half the size, which Kaldi itself cannot read (kaldiio can); or `compressed`,
            a quarter of the size, Kaldi's own 8-bit format (its compression method 2), which both read.

    Raises:
        RecipeError: no such storage, or the disk is full.
    """

    def __init__(self, ark: str | Path, scp: str | Path, storage: str = "float32") -> None:
        self.ark, self.scp, self.storage = Path(ark), Path(scp), check_storage(storage)
        self._locations: dict[str, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ArchiveWriter:
        with self._errors_named():
            self._stack.enter_context(self._renamed_when_complete())
        return self

    def __exit__(self, *error: Any) -> None:
        with self._errors_named():
            self._stack.__exit__(*error)

    @contextlib.contextmanager
    def _renamed_when_complete(self) -> Iterator[None]:
        with atomic_path(self.ark) as partial, open(partial, "wb") as self._stream:
            yield
        write_table(self.scp, self._locations)

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecipeError(f"{self.ark} cannot be written ({error}); make room and run the stage again") from error

    def write(self, utt: str, array: np.ndarray) -> None:
        """Append a (frames, dim) matrix or a (dim,) vector; a vector is never compressed.

        Raises:
            RecipeError: `utt` has been written already, or the disk is full.
        """
        if utt in self._locations:
            raise RecipeError(f"{self.ark}: {utt} is written twice")
        with self._errors_named():
            offset = _append(self._stream, utt, array, self.storage)
        self._locations[utt] = f"{self.ark.absolute()}:{offset}"


def _append(stream: BinaryIO, utt: str, array: np.ndarray, storage: str) -> int:
    """Write an array, and return the byte at which it begins."""
    kind, dtype = STORAGE[storage][0], np.float16 if storage == "float16" else np.float32
    if array.ndim == 1:
        kind, dtype = {}, np.float32
    offset = stream.tell() + len(f"{utt} ".encode())
    kaldiio.save_ark(stream, {utt: np.ascontiguousarray(array, dtype=dtype)}, **kind)
    return offset


def as_stored(array: np.ndarray, storage: str) -> np.ndarray:
    """What an archive of `storage` gives back of an array: float16 and `compressed` round its values."""
    stream = io.BytesIO()
    stream.seek(_append(stream, "utt", array, check_storage(storage)))
    return read_kaldi(stream)


def read_array(location: str) -> np.ndarray:
    """Read the array at `path:offset` (or `path`, for a file of one array).

    Returns:
        (frames, dim) or (dim,); float16 where it was stored so, else float32.

    Raises:
        UtteranceError: the archive is missing, cut short or damaged, or holds something else than such an array.
    """
    path, _, offset = location.rpartition(":")
    if not path or not offset.isdecimal():
        path, offset = location, "0"
    try:
        with open(path, "rb") as stream:
            stream.seek(int(offset))
            head = stream.read(3)
            if not (head.startswith(b"\0B") or head == b"NPY"):  # kaldiio would also unpickle, which can run code
                raise UtteranceError(f"{path} holds no array at byte {offset}; it is damaged or has been rewritten")
            stream.seek(int(offset))
            array = read_kaldi(stream)
    except OSError as error:
        raise UtteranceError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, AssertionError, EOFError, IndexError, struct.error, MemoryError, OverflowError) as error:
        detail = str(error) or "no array there"
        raise UtteranceError(f"{path} is cut short or damaged at byte {offset} ({detail})") from error
    return array if array.dtype == np.float16 else np.asarray(array, dtype=np.float32)
