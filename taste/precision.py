"""The device that matrix products run on, and their floating-point type."""

from __future__ import annotations

import torch

from taste.errors import RecipeError

CHOICES = ("auto", "float32", "bfloat16")
_CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def check_device(name: str) -> torch.device:
    """Return the device `name`: `cpu`, `cuda`, `cuda:1`, …

    Raises:
        RecipeError: no such device, or torch sees no GPU of that number.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"--device {name}: it is cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RecipeError(f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs here")
    return device


def compute_dtype(choice: str, device: torch.device) -> torch.dtype:
    """The type for `torch.autocast` on `device`.

    Args:
        choice: `float32`, `bfloat16`, or `auto`: bfloat16 where the hardware multiplies it (a CPU with AMX or
            AVX512-BF16, a GPU that supports it), else float32. On a CPU without such instructions bfloat16 is
            several times slower than float32, not faster.
        device: where they run.

    Raises:
        RecipeError: no such choice.
    """
    if choice not in CHOICES:
        raise RecipeError(f"--dtype {choice}: it is one of {', '.join(CHOICES)}")
    if choice != "auto":
        return getattr(torch, choice)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # older versions of torch cannot tell what the CPU has
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(capabilities.get(name) for name in _CPU_INSTRUCTIONS) else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in a type that `compute_dtype` gave; as a context."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
