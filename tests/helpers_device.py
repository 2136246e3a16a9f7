"""A device that any machine has: tensors of the CPU under another name, which those of the CPU must not meet.

It is a backend of PyTorch in Python; what is registered stays so, so a process of its own has to use it.
"""

from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere:0"
MOVES = {"copy_", "_to_copy"}  # between devices


class TensorElsewhere(torch.Tensor):
    """Says that it is on `elsewhere`, and holds a tensor of the CPU."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "TensorElsewhere":
        """Wrap a tensor of the CPU."""
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        wrapper = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=NAME, **layout)
        wrapper.held = held
        return wrapper

    def tolist(self) -> list:
        """As of any tensor."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Do the operation on what the tensors hold, unless one of them is on the CPU."""
        return _run(func, args, kwargs or {})


class Backend(_DummyBackendModule):
    """What PyTorch asks of the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """None: autocast would need kernels of its own."""
        return []


def make_device() -> None:
    """Let this process know the device."""
    _setup_privateuseone_for_python_backend(NAME.partition(":")[0], Backend())
    made = torch.tensor  # its data go to a device without an operation that could be seen

    def tensor(data: Any, *, device: Any = None, **how: Any) -> torch.Tensor:
        return made(data, **how).to(device or "cpu")

    torch.tensor = tensor


class Elsewhere(TorchDispatchMode):
    """While it is entered, tensors can be made on and moved to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Do the operation."""
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    ours = [each for each in tensors if isinstance(each, TensorElsewhere)]
    if ours and func._schema.name.removeprefix("aten::") not in MOVES:
        behind = [each for each in tensors if each.dim() and not isinstance(each, TensorElsewhere)]
        assert not behind, f"{func} of tensors on {NAME} and on the CPU: {[tuple(each.shape) for each in behind]}"
    device = kwargs.get("device")
    is_ours = bool(ours) if device is None else torch.device(device) == torch.device(NAME)
    on_cpu = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    with no_dispatch():
        found = func(*_held(args), **_held(on_cpu))

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        same = [each for each in tensors if each is value or getattr(each, "held", None) is value]  # in place
        return same[0] if same else TensorElsewhere(value) if is_ours else value

    return tree_map(wrap, found)


def _held(values: Any) -> Any:
    return tree_map(lambda each: each.held if isinstance(each, TensorElsewhere) else each, values)
