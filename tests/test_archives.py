import errno
import pickle

import kaldiio
import numpy as np
import pytest

from taste.archives import ArchiveWriter, matrix_bytes, read_array
from taste.errors import RecipeError, UtteranceError
from taste.tables import read_table

random = np.random.default_rng(0)
MATRICES = {
    "utt-b": random.normal(size=(97, 64)).astype(np.float32),
    "utt-a": random.normal(size=(1, 64)).astype(np.float32),
    "ütt": random.normal(size=(300, 64)).astype(np.float32) * np.arange(64, dtype=np.float32),
}
TOLERANCE = {"float32": 0, "float16": 1e-3, "compressed": 2e-2}  # of a column's standard deviation


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "path with space"


def write(folder, arrays, storage="float32"):
    with ArchiveWriter(folder / "feats.1.ark", folder / "feats.scp", storage) as archive:
        for utt, array in arrays.items():
            archive.write(utt, array)
    return read_table(folder / "feats.scp")


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_what_is_written_is_read(folder, storage):
    locations = write(folder, {**MATRICES, "vector": MATRICES["utt-a"][0]}, storage)
    assert list(locations) == ["utt-a", "utt-b", "vector", "ütt"]
    for utt, expected in MATRICES.items():
        found = read_array(locations[utt])
        assert found.dtype == (np.float16 if storage == "float16" else np.float32) and found.shape == expected.shape
        error = np.sqrt(((found.astype(np.float32) - expected) ** 2).mean(0))
        assert (error <= TOLERANCE[storage] * np.maximum(expected.std(0), 1)).all()
    np.testing.assert_array_equal(read_array(locations["vector"]), MATRICES["utt-a"][0])


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_kaldiio_reads_the_scp(folder, storage):
    locations = write(folder, MATRICES, storage)
    theirs = kaldiio.load_scp(str(folder / "feats.scp"))
    for utt in MATRICES:
        np.testing.assert_array_equal(theirs[utt].astype(np.float32), read_array(locations[utt]))


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_space_is_foretold(folder, storage):
    write(folder, MATRICES, storage)
    foretold = sum(matrix_bytes(*matrix.shape, storage) for matrix in MATRICES.values())
    size = (folder / "feats.1.ark").stat().st_size
    assert foretold <= size <= foretold + 200 * len(MATRICES)


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_archive_cut_short_is_named(folder, storage):
    locations = write(folder, {"utt-b": MATRICES["utt-b"]}, storage)
    ark = folder / "feats.1.ark"
    whole = ark.read_bytes()
    for size in [0, 4, 6, 8, 11, 14, 20, 25, 40, 200, len(whole) // 2, len(whole) - 1]:
        ark.write_bytes(whole[:size])
        with pytest.raises(UtteranceError, match=r"feats\.1\.ark"):
            read_array(locations["utt-b"])
    ark.unlink()
    with pytest.raises(UtteranceError, match=r"feats\.1\.ark cannot be read"):
        read_array(locations["utt-b"])


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "code.ark"
    path.write_bytes(b"utt PKL" + pickle.dumps({"any": "object"}))
    with pytest.raises(UtteranceError, match="holds no array at byte 4"):
        read_array(f"{path}:4")


def test_nothing_appears_when_writing_fails(folder):
    with (
        pytest.raises(KeyError, match="cause"),
        ArchiveWriter(folder / "feats.1.ark", folder / "feats.scp") as archive,
    ):
        archive.write("utt-a", MATRICES["utt-a"])
        raise KeyError("cause")
    assert list(folder.iterdir()) == []


def test_full_disk_is_one_message_and_keeps_the_old_archive(folder, monkeypatch):
    locations = write(folder, MATRICES)

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kaldiio, "save_ark", no_space)
    with pytest.raises(RecipeError, match=r"feats\.1\.ark cannot be written .*No space left"):
        write(folder, MATRICES)
    np.testing.assert_array_equal(read_array(locations["utt-b"]), MATRICES["utt-b"])


def test_utterance_written_twice_is_refused(folder):
    with (
        pytest.raises(RecipeError, match="utt-a is written twice"),
        ArchiveWriter(folder / "feats.1.ark", folder / "feats.scp") as archive,
    ):
        archive.write("utt-a", MATRICES["utt-a"])
        archive.write("utt-a", MATRICES["utt-a"])


def test_unknown_storage_is_refused(folder):
    with pytest.raises(RecipeError, match="--storage int4"):
        ArchiveWriter(folder / "feats.1.ark", folder / "feats.scp", "int4")
