"""A step of the LM's training, forward and backward, ours and upstream's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from taste.benchmark.models import upstream_lm
from taste.config import ModelConfig
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.precision import autocast

UTTERANCES, TEXT, UNITS = 8, 40, 497  # with sos, speaker and task 540 positions of the LM


def batch_of(config: ModelConfig, device: str) -> Batch:
    """A batch of random utterances of the same length."""
    generator = torch.Generator().manual_seed(0)

    def ids(most: int, length: int) -> Tensor:
        return torch.randint(most, (UTTERANCES, length), generator=generator)

    lengths = {name: torch.full((UTTERANCES,), size) for name, size in (("text", TEXT), ("unit", UNITS))}
    return Batch(
        [str(index) for index in range(UTTERANCES)],
        ids(config.text_token_size, TEXT), lengths["text"], ids(config.speech_token_size, UNITS), lengths["unit"],
        torch.randn(UTTERANCES, config.spk_embed_dim, generator=generator),
    ).to(torch.device(device))  # fmt: skip


def ours(config: ModelConfig, dtype: str, device: str = "cpu") -> Callable[[], float]:
    """The step of `taste.training.loop.update`, without the optimizer's."""
    model = JointModel(config).to(device).train()
    batch = batch_of(config, device)
    return _step(model, lambda: model(batch).loss(), dtype, device)


def upstream(config: ModelConfig, dtype: str, device: str = "cpu") -> Callable[[], float]:
    """The step of upstream's recipe, `TransformerLM.forward` and the backward pass.

    Raises:
        RecipeError: upstream's package is not installed.
    """
    model = upstream_lm(config, JointModel(config).lm.state_dict()).to(device).train()
    batch = batch_of(config, device)
    inputs = {
        "text_token": batch.text_token, "text_token_len": batch.text_length, "speech_token": batch.unit,
        "speech_token_len": batch.unit_length, "embedding": batch.spk_emb,
    }  # fmt: skip
    return _step(model, lambda: model(inputs, torch.device(device))["loss"], dtype, device)


def _step(model: nn.Module, loss: Callable[[], Tensor], dtype: str, device: str) -> Callable[[], float]:
    def step() -> None:
        with autocast(torch.device(device), getattr(torch, dtype)):
            value = loss()
        value.backward()
        model.zero_grad()
        if device != "cpu":
            torch.cuda.synchronize()

    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops()

    def work() -> float:
        step()
        return operations

    return work
