"""A trained system on disk: `exp/<system>/config.yaml`, its weights as safetensors, and upstream's `llm.pt`."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taste.config import Config, load_config
from taste.errors import RecipeError
from taste.files import atomic_path, require
from taste.model.joint import JointModel

BEST, LAST, AVERAGE = "best.safetensors", "last.safetensors", "average.safetensors"
LM = "lm."  # prefix of the LM's parameters in the joint model; upstream's file has none


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers atomically; the former file stays whole if this fails."""
    save_tensors(path, model.state_dict())


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    with atomic_path(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)


def load_weights(path: str | Path, made_by: str) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RecipeError: the file is missing (`made_by` names the stage that makes it), cut short or of another kind.
    """
    try:
        return load_file(require(path, made_by))
    except SafetensorError as error:
        raise RecipeError(f"{path} is damaged or no safetensors file ({error}); run {made_by} again") from error


def load_torch(path: str | Path, advice: str) -> Any:
    """Read a file of `torch.save`, on the CPU, running nothing that it may hold beside tensors and plain values.

    Args:
        advice: what to do about a damaged file.

    Raises:
        RecipeError: the file is cut short, of another kind, or holds code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise RecipeError(f"{path} holds code beside tensors and is not read: {str(error).splitlines()[0]}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:  # what torch raises differs with the cut
        raise RecipeError(
            f"{path} is damaged or no checkpoint of torch ({str(error).splitlines()[0]}); {advice}"
        ) from error


def load_llm(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of upstream's LM (`llm.pt` of CosyVoice-300M, or of its recipe), under the joint model's names.

    Raises:
        RecipeError: the file is missing, cut short, or holds anything but tensors.
    """
    return {LM + name: tensor for name, tensor in load_cosyvoice_weights(path).items()}


def load_cosyvoice_weights(path: str | Path) -> dict[str, Tensor]:
    """Read `llm.pt`, `flow.pt` or `hift.pt` of CosyVoice-300M, or of its recipe, under upstream's names.

    Raises:
        RecipeError: the file is missing, cut short, or holds anything but tensors.
    """
    weights = load_torch(require(path, "stage 3"), "fetch it again")
    if isinstance(weights, dict):  # upstream's training adds these two numbers to the tensors
        weights = {name: value for name, value in weights.items() if name not in ("epoch", "step")}
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise RecipeError(f"{path} holds no table of tensors; CosyVoice's .pt files are state dicts")
    return weights


def save_llm(path: str | Path, model: JointModel) -> None:
    """Write a system's LM in the layout of upstream's `llm.pt`.

    Raises:
        RecipeError: the system has an aggregator, whose part of the text states upstream's model would miss.
    """
    if model.speech is not None:
        raise RecipeError("a system with an aggregator is more than CosyVoice's LM and cannot be written as an llm.pt")
    with atomic_path(path) as partial:
        torch.save({name: tensor.detach().cpu() for name, tensor in model.lm.state_dict().items()}, partial)


def average_weights(paths: Sequence[str | Path]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights, computed in float64."""
    total = {name: tensor.double() for name, tensor in load_weights(paths[0], "training").items()}
    for path in paths[1:]:
        for name, tensor in load_weights(path, "training").items():
            total[name] += tensor
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path, may_lack: str = "") -> None:
    """Load weights into a model of the same names and shapes.

    Args:
        may_lack: prefix of the model's parameters that the file need not hold; they keep their initial values.

    Raises:
        RecipeError: names or shapes differ; with the first of them.
    """
    expected = model.state_dict()
    lacking = [name for name in expected if name not in weights and not (may_lack and name.startswith(may_lack))]
    unknown = [name for name in weights if name not in expected]
    shapes = [name for name in weights if name in expected and weights[name].shape != expected[name].shape]
    for what, names in (("lacks", lacking), ("holds, unknown to the model,", unknown)):
        if names:
            raise RecipeError(f"{path} {what} {len(names)} parameters, first {', '.join(names[:3])}")
    if shapes:
        name = shapes[0]
        raise RecipeError(
            f"{path}: {name} has the shape {list(weights[name].shape)}, but the model's configuration makes it "
            f"{list(expected[name].shape)}; {len(shapes)} parameters differ"
        )
    model.load_state_dict(dict(weights), strict=not may_lack)


def load_system(system_dir: str | Path, device: torch.device, weights: str = BEST) -> tuple[Config, JointModel]:
    """The trained system of a directory in evaluation mode, with the weights of the best dev loss or other ones.

    Raises:
        RecipeError: the directory holds no trained system, or its files do not fit each other.
    """
    system_dir = Path(system_dir)
    path = require(system_dir / weights, "training (stages 7 to 9)")
    config = load_config([system_dir / "config.yaml"])
    model = JointModel(config.model)
    fit_weights(model, load_weights(path, "training"), path)
    return config, model.to(device).eval()
