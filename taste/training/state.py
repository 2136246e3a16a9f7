"""What training needs to go on exactly where it was: written beside the system while it trains."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from taste.checkpoint import load_torch
from taste.errors import RecipeError
from taste.files import atomic_path
from taste.training.distributed import Processes

logger = logging.getLogger(__name__)
STATE = "state.pt"


@dataclass
class Progress:
    """How far training has come."""

    epoch: int = 1  # the one under way
    updates_in_epoch: int = 0  # of it, done
    step: int = 0  # updates done since the start
    skipped: int = 0  # updates left out since their loss or gradient was not finite
    skipped_in_a_row: int = 0
    best: dict[str, float] = field(default_factory=dict)  # the epoch record of the best dev loss
    epochs_without_better: int = 0
    kept: dict[str, float] = field(default_factory=dict)  # checkpoint file of an epoch -> its dev loss
    seconds: float = 0.0  # of training until the state was written


def save_state(
    system_dir: Path, config: str, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer,
    processes: Processes,
) -> None:  # fmt: skip
    """Write the state atomically: if this fails, for want of space say, the former state is still whole.

    All processes have to call this; the first one writes.

    Raises:
        RecipeError: the file cannot be written.
    """
    random_states = processes.gather(_random_state(processes.device))
    if not processes.is_first:
        return
    state = {
        "config": config,
        "progress": asdict(progress),
        "model": _changing(model),
        "optimizer": optimizer.state_dict(),
        "random": random_states,
    }
    path = system_dir / STATE
    try:
        with atomic_path(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as RuntimeError
        raise RecipeError(
            f"{path} could not be written ({str(error).splitlines()[0]}); is the disk full? The state before it is "
            "whole: make room and give the same command again"
        ) from error


def restore_state(
    system_dir: Path, config: str, model: nn.Module, optimizer: torch.optim.Optimizer, processes: Processes
) -> Progress | None:
    """Put the model, optimizer and random numbers back as `save_state` found them.

    Args:
        config: the settings of the run that is to go on, as `save_config` writes them.

    Returns:
        How far training had come; None where there is no state to go on from.

    Raises:
        RecipeError: the file is damaged, or belongs to a run with other settings.
    """
    path = system_dir / STATE
    if not path.exists():
        return None
    state = load_torch(path, "remove it to train from the start")
    if differences := _differences(state["config"], config):
        raise RecipeError(
            f"{path} belongs to an unfinished training with other settings: {', '.join(differences[:3])}; give those "
            "again to go on with it, or remove the file to train from the start"
        )
    with torch.no_grad():
        for name, tensor in _changing(model).items():
            tensor.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    if len(state["random"]) == processes.count:
        _set_random_state(state["random"][processes.rank], processes.device)
    else:
        logger.warning("%d processes go on where %d were: random numbers differ", processes.count, len(state["random"]))
        torch.manual_seed(progress.step * processes.count + processes.rank)
    return progress


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """What training changes of a model; the rest, of an aggregator made of Whisper's decoder nearly all, stays as it is
    made at the start."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {**trained, **dict(model.named_buffers())}


def _differences(before: str, now: str) -> list[str]:
    """Settings that differ between two configurations, as `name before -> now`."""
    old, new = yaml.safe_load(before), yaml.safe_load(now)
    return [f"{name} {old.get(name)} -> {new.get(name)}" for name in {**old, **new} if old.get(name) != new.get(name)]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
