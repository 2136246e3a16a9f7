import pytest
import torch

from taste.errors import RecipeError
from taste.precision import check_device, compute_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [({"amx_bf16": True}, torch.bfloat16), ({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_auto_takes_bfloat16_where_the_cpu_multiplies_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert compute_dtype("auto", CPU) is dtype
    assert compute_dtype("float32", CPU) is torch.float32
    assert compute_dtype("bfloat16", CPU) is torch.bfloat16


def test_auto_takes_float32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert compute_dtype("auto", CPU) is torch.float32


def test_unknown_type_is_refused():
    with pytest.raises(RecipeError, match="--dtype int8"):
        compute_dtype("int8", CPU)


@pytest.mark.parametrize("name", ["tpu7", "cuda:99", ""])
def test_device_that_is_not_there_is_refused(name):
    assert check_device("cpu") == CPU
    with pytest.raises(RecipeError, match=f"--device {name}:"):
        check_device(name)
