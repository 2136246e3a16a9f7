"""Training in several processes, as torchrun starts them: who does what, and sums over all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of one training run, seen from one of them."""

    rank: int
    count: int
    device: torch.device  # this process's own

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's share of `items`; the shares of all processes differ by at most one item in size."""
        return list(items[self.rank :: self.count])

    def total(self, values: Sequence[float]) -> list[float]:
        """Sum each value over the processes, in float64."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        values: list = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value)
        return values

    def merge(self, mapping: Mapping[str, T]) -> dict[str, T]:
        """One mapping of what all processes have."""
        return {key: value for each in self.gather(dict(mapping)) for key, value in each.items()}

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over the processes; the model itself where there is one process."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that torchrun has started, if it has: NCCL between GPUs, Gloo between CPUs.

    Args:
        device: `cuda` becomes the GPU of this process's number on its machine.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()
