"""The LM is CosyVoice's: same names, same numbers."""

import json
import math
from pathlib import Path

import pytest
import torch

from taste.config import load_config
from taste.model.incremental import shift_distances
from taste.model.lm import CosyVoiceLM
from taste.model.transformer import distance_encoding, length_mask

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"


def test_text_encoder_gives_upstreams_output(golden):
    model, tensors = golden
    with torch.no_grad():
        output = model.encode_text(tensors["text_token"])
    real = length_mask(tensors["text_token_len"], output.shape[1])
    torch.testing.assert_close(output[real], tensors["text_encoder_out"][real], atol=1e-4, rtol=0)


def test_teacher_forced_logits_and_loss_are_upstreams(golden):
    model, tensors = golden
    text_length, unit_length = tensors["text_token_len"].long(), tensors["speech_token_len"].long()
    with torch.no_grad():
        text = model.encode_text(tensors["text_token"])
        logits, target = model(text, text_length, tensors["speech_token"], unit_length, tensors["embedding"])
    for i, (n_text, n_unit) in enumerate(zip(text_length, unit_length, strict=True)):
        expected = tensors["logits"][i, n_text + 2 : n_text + 3 + n_unit]
        torch.testing.assert_close(logits[i, : n_unit + 1], expected, atol=1e-4, rtol=0)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
    torch.testing.assert_close(loss, tensors["loss"][0], atol=1e-4, rtol=0)
    accuracy = (logits.argmax(-1) == target)[target >= 0].float().mean()
    torch.testing.assert_close(accuracy, tensors["acc"][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", ["12gb", "80gb"])
def test_300m_model_built_from_yaml_has_upstreams_names_and_shapes(size):
    shapes = json.loads((DATA / "cosyvoice_300m_llm_shapes.json").read_text())
    conf = ROOT / "egs/librispeech/conf"
    files = [
        ROOT / "conf/default.yaml",
        conf / "model_300m.yaml",
        conf / f"train_300m_{size}.yaml",
        ROOT / "conf/text_only.yaml",
    ]
    config = load_config(files, ["seed=1"])
    with torch.device("meta"):
        model = CosyVoiceLM(config.model)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == shapes


def test_shift_distances_moves_each_score_to_its_key():
    queries, keys = 3, 5
    by_distance = torch.arange(keys - 1, -1, -1.0).expand(1, 1, queries, keys)  # each score is its distance
    by_key = shift_distances(by_distance)[0, 0]
    for i in range(queries):
        position = keys - queries + i
        assert by_key[i, : position + 1].tolist() == [position - j for j in range(position + 1)]


def test_distance_encoding_is_zero_phase_at_distance_zero():
    encoding = distance_encoding(4, 6, torch.device("cpu"))
    assert encoding[-1].tolist() == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(encoding[0, :2], torch.tensor([math.sin(3), math.cos(3)]))
