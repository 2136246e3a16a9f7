"""A trained system on disk: `exp/<system>/config.yaml` and its weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taste.config import Config, load_config
from taste.errors import RecipeError
from taste.files import atomic_path, require
from taste.model.joint import JointModel

BEST, LAST = "best.safetensors", "last.safetensors"


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers atomically; the former file stays whole if this fails."""
    with atomic_path(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, partial)


def load_weights(path: str | Path, made_by: str) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RecipeError: the file is missing (`made_by` names the stage that makes it), cut short or of another kind.
    """
    try:
        return load_file(require(path, made_by))
    except SafetensorError as error:
        raise RecipeError(f"{path} is damaged or no safetensors file ({error}); run {made_by} again") from error


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


def load_system(system_dir: str | Path, device: torch.device) -> tuple[Config, JointModel]:
    """The trained system of a directory, with the weights of the best dev loss, in evaluation mode.

    Raises:
        RecipeError: the directory holds no trained system, or its files do not fit each other.
    """
    system_dir = Path(system_dir)
    path = require(system_dir / BEST, "training (stages 7 to 9)")
    config = load_config([system_dir / "config.yaml"])
    model = JointModel(config.model)
    fit_weights(model, load_weights(path, "training"), path)
    return config, model.to(device).eval()
