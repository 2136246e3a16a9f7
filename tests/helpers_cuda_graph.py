"""What a CUDA graph does, on a CPU: operations are recorded with their tensors, and run again on these."""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount"}  # ask the GPU for values or sizes


class Recorder(TorchDispatchMode):
    """Records each operation, and what the tensors that it alters were before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        self.altered: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name.removeprefix("aten::") not in WAITS, f"{func} waits for the GPU"
        kwargs = kwargs or {}
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.altered.append((value, value.clone()))
        found = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, found))
        return found


def record_on_cpu(work: Callable[[], None]) -> Callable[[], None]:
    """As `taste.model.cuda_graph.record`: work leaves no trace until it is repeated.

    Every operation is repeated on the tensors it was recorded with, and what it finds is written where it was; Python's
    values are those of the recording.
    """
    with Recorder() as recorder:
        work()
    for tensor, before in reversed(recorder.altered):
        tensor.copy_(before)

    def replay() -> None:
        for func, args, kwargs, found in recorder.calls:
            repeated = func(*args, **kwargs)
            for old, new in zip(tree_leaves(found), tree_leaves(repeated), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither a view nor in place
                    old.copy_(new)

    return replay
