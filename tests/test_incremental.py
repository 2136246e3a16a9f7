"""Reading a position at a time gives what reading whole sequences gives."""

import pytest
import torch
from torch import nn

from taste.model.incremental import FixedLinear, IncrementalEncoder
from taste.model.transformer import CausalEncoder


@pytest.fixture(params=["laid out", "as it is"])
def layout(request, monkeypatch):
    """On a CPU with oneDNN, and on another device."""
    if request.param == "as it is":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    elif not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@torch.no_grad()
def test_fixed_linear_is_the_layer(layout, dtype, tolerance):
    torch.manual_seed(0)
    linear = nn.Linear(48, 33)
    fixed = FixedLinear.of(linear, dtype)
    for shape in ((1, 1, 48), (5, 48), (2, 70, 48)):
        x = torch.randn(shape)
        expected, found = linear(x), fixed(x)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "conformer"])
@torch.no_grad()
def test_positions_read_in_parts_are_those_of_the_whole(layout, kind):
    torch.manual_seed(0)
    encoder = CausalEncoder(kind, 10, 16, 4, 24, blocks=2, dropout=0.1).eval()
    x = torch.randn(3, 9, 10)
    expected = encoder(x)
    incremental = IncrementalEncoder(encoder, batch=3, size=12, dtype=torch.float32)
    later = (torch.ones(4, 4).triu(1) > 0)[None, None]
    parts = [incremental.extend(x[:, :4], later)]
    parts += [incremental.extend(x[:, i : i + 1], None) for i in range(4, 7)]
    torch.testing.assert_close(torch.cat(parts, 1), expected[:, :7], atol=1e-5, rtol=0)
    kept = torch.tensor([True, False, True])
    incremental.keep(kept)
    parts = [incremental.extend(x[kept, i : i + 1], None) for i in range(7, 9)]
    torch.testing.assert_close(torch.cat(parts, 1), expected[kept, 7:], atol=1e-5, rtol=0)
    assert incremental.length == 9
