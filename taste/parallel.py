"""The same work on many items, by several processes or ahead of its use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # results


def in_processes(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """Yield `function` of each item, in the items' order.

    PyTorch's loader starts the processes and gives each one thread. They begin afresh, since the threads of ONNX
    Runtime do not survive a fork.

    Args:
        function: can be pickled, if there are several processes.
        jobs: processes; where it is one, it is this one, with all its threads.
    """
    loader = DataLoader(
        _Results(function, items), batch_size=None, collate_fn=_as_it_is,
        num_workers=jobs if jobs > 1 else 0,
        multiprocessing_context="spawn" if jobs > 1 else None,
        generator=torch.Generator(),  # its own, so that nothing is drawn from the global one
    )  # fmt: skip
    yield from loader


def ahead_of_use(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of each item, in the items' order, while a thread works out those that come next.

    For what waits for a disk. A process of PyTorch's loader in its place takes processor time from the threads of
    matrix products, which wait for each other, and hands tensors over by shared memory that has to be paged in again.
    """
    thread = ThreadPoolExecutor(1)
    coming: deque[Future[Result]] = deque()
    try:
        for item in items:
            coming.append(thread.submit(function, item))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


class _Results(Dataset):
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result:
        return self.function(self.items[index])


def _as_it_is(result: Result) -> Result:
    return result
