import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from taste.cosyvoice.assets import FILES, check_cosyvoice_dir, prepare_cosyvoice
from taste.errors import RecipeError

ROOT = Path(__file__).resolve().parent.parent


def fill(folder, names=FILES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"something")
    return folder


@pytest.fixture
def modelscope(monkeypatch):
    """A stand-in for the package: `asked` collects its calls, `delivers` is what a download brings."""
    hub = SimpleNamespace(asked=[], delivers=FILES)

    def snapshot_download(model_id, local_dir, allow_patterns):
        hub.asked.append((model_id, local_dir, allow_patterns))
        if hub.delivers is None:
            raise ConnectionError("no route to host")
        fill(Path(local_dir), hub.delivers)

    monkeypatch.setitem(sys.modules, "modelscope", SimpleNamespace(snapshot_download=snapshot_download))
    return hub


def test_an_existing_directory_is_taken_as_it_is(tmp_path, modelscope):
    folder = fill(tmp_path / "my models")
    assert prepare_cosyvoice(tmp_path, folder) == folder
    assert modelscope.asked == []


def test_all_that_is_missing_is_named(tmp_path, modelscope):
    folder = fill(tmp_path / "mine", FILES[2:])
    (folder / "flow.pt").write_bytes(b"")
    (folder / "hift.pt").write_text("version https://git-lfs.github.com/spec/v1\nsize 5\n")
    with pytest.raises(RecipeError) as error:
        prepare_cosyvoice(tmp_path, folder)
    for fault in ("cosyvoice.yaml is missing", "llm.pt is missing", "flow.pt is empty", "hift.pt is a pointer"):
        assert fault in str(error.value)
    assert "campplus.onnx is" not in str(error.value) and modelscope.asked == []
    with pytest.raises(RecipeError, match=r"speech_tokenizer_v1\.onnx is missing"):
        check_cosyvoice_dir(tmp_path / "absent")


def test_files_are_fetched_once_and_only_those_needed(tmp_path, modelscope):
    folder = tmp_path / "CosyVoice-300M"
    assert prepare_cosyvoice(tmp_path) == prepare_cosyvoice(tmp_path) == folder
    assert modelscope.asked == [("iic/CosyVoice-300M", str(folder), list(FILES))]
    (folder / "llm.pt").unlink()
    prepare_cosyvoice(tmp_path)
    assert len(modelscope.asked) == 2


def test_without_network_the_message_says_what_to_put_where(tmp_path, modelscope):
    modelscope.delivers = None
    with pytest.raises(RecipeError, match="no route to host") as error:
        prepare_cosyvoice(tmp_path)
    for part in (*FILES, "iic/CosyVoice-300M", str(tmp_path / "CosyVoice-300M"), "--cosyvoice_dir"):
        assert part in str(error.value)


def test_a_model_that_lacks_a_file_is_noticed(tmp_path, modelscope):
    modelscope.delivers = FILES[:-1]
    with pytest.raises(RecipeError, match=r"speech_tokenizer_v1\.onnx is missing"):
        prepare_cosyvoice(tmp_path)


def test_missing_modelscope_names_the_requirements(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(RecipeError, match=r"pip install -r requirements-modelscope\.txt"):
        prepare_cosyvoice(tmp_path)


def test_the_recipe_checks_the_directory_before_anything_else(tmp_path):
    folder = fill(tmp_path / "mine", FILES[1:])
    options = ["--cosyvoice_dir", folder, "--exp", tmp_path / "exp", "--stage", "13"]
    result = subprocess.run([ROOT / "egs/librispeech/run.sh", *options], capture_output=True, text=True)
    assert result.returncode == 1 and "cosyvoice.yaml is missing" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "exp").exists()
