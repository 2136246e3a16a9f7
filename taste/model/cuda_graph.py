"""Work that is done many times on the same tensors, as a CUDA graph: the GPU gets its kernels all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Repeated:
    """Work that is done again and again; from the second time on a GPU repeats what was recorded of it.

    A step of decoding is hundreds of small kernels, and to start them one by one takes longer than to run them.

    What is repeated has the first time's shapes, addresses and Python values: whatever changes from one time to the
    next has to be in tensors that stay where they are.
    """

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        """Take work on tensors of a GPU; it must not wait for their values."""
        self.work, self.device = work, device
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Do the work once more."""
        if self.replay is not None:
            self.replay()
            return
        self.work()  # what is recorded does not run
        self.replay = record(self.work, self.device)


def record(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record the kernels of work that has run before on this GPU; what is returned runs them."""
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        # other threads, which may be reading the next batch, are not of the recording
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
            work()
    return graph.replay
