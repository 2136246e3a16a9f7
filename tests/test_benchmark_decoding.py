"""The benchmark's two ways to decode do the same work, and count it."""

import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from taste.benchmark import decoding
from taste.benchmark.models import librispeech_model, random_lm, upstream_lm
from taste.errors import RecipeError
from taste.model.lm import CosyVoiceLM
from tests.helpers import model_config


@pytest.fixture
def tiny():
    return model_config(text_encoder_blocks=2, llm_blocks=3)


def test_model_has_49_million_parameters():
    with torch.device("meta"):
        lm = CosyVoiceLM(librispeech_model())
    assert round(sum(weight.numel() for weight in lm.parameters()) / 1e6) == 49


def test_operations_are_those_that_torch_counts(tiny, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # products that torch's counter knows
    run = decoding.ours(tiny, 1, [2], "float32")
    with FlopCounterMode(display=False) as counter:
        operations = run()
    # ours reads the text's positions in a square, of which half is hidden
    assert operations < counter.get_total_flops() < 1.1 * operations


def test_a_batch_has_the_operations_of_its_utterances(tiny):
    lengths = [(14, 200), (28, 400), (14, 200)]
    expected = sum(decoding.floating_point_operations(tiny, *length) for length in lengths)
    assert decoding.ours(tiny, 3, [4, 8])() == expected
    assert decoding.ours(tiny, 3, [4, 8], "bfloat16")() == expected


def test_upstream_does_the_same_work(tiny):
    pytest.importorskip("cosyvoice")
    assert decoding.upstream(tiny, 3, [2, 4])() == decoding.ours(tiny, 3, [2, 4])()


def test_missing_upstream_is_named_with_the_command(tiny, monkeypatch):
    for name in ("cosyvoice", "cosyvoice.llm.llm"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=r"pip install --no-deps cosyvoice-minicpmo==0\.1\.0"):
        upstream_lm(tiny, random_lm(tiny).state_dict())
