"""Attention in pieces gives what attention in one gives."""

import pytest
import torch
from torch import nn

from taste.model import cross_entropy as loss
from taste.model import relative_attention as attention
from taste.model.dropout import Dropout
from taste.model.incremental import shift_distances


def attend_at_once(query_u, query_v, key, value, position, scale):
    time = key.shape[2]
    by_key = shift_distances(query_v @ position[:, None].transpose(-2, -1))
    scores = scale * (query_u @ key.transpose(-2, -1) + by_key)
    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize("time", [1, 7, 16, 45])
@pytest.mark.parametrize("piece", [1, 700, 2**20])
@pytest.mark.parametrize("kept", [0, 2**20])
def test_relative_attention_and_its_gradients(time, piece, kept, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 16)
    monkeypatch.setattr(attention, "PIECE", piece)
    monkeypatch.setattr(attention, "KEPT", kept)
    torch.manual_seed(0)
    heads, batch, width = 3, 2, 4
    sizes = [(heads, batch, time, width)] * 4 + [(heads, time, width)]
    inputs = [torch.randn(size, dtype=torch.double, requires_grad=True) for size in sizes]
    gradient = torch.randn(sizes[0], dtype=torch.double)
    found, expected = (f(*inputs, 0.3) for f in (attention.relative_attention, attend_at_once))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, gradient), torch.autograd.grad(expected, inputs, gradient)
    )


def test_memory_does_not_grow_with_the_square_of_the_length():
    def kept(time):
        held = []
        inputs = [torch.zeros(2, 1, time, 4, requires_grad=True) for _ in range(4)]
        with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
            attention.relative_attention(*inputs, torch.zeros(2, time, 4), 0.5)
        return sum(held)

    assert kept(6800) == 2 * kept(3400)


def test_cross_entropy_in_pieces_is_torchs(monkeypatch):
    monkeypatch.setattr(loss, "PIECE", 20)  # three positions
    torch.manual_seed(0)
    logits, target = torch.randn(8, 6, requires_grad=True), torch.tensor([0, 5, loss.IGNORE, 2, 2, 4, 1, loss.IGNORE])
    found = loss.cross_entropy(logits, target)
    expected = nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(8)
    torch.testing.assert_close(
        torch.autograd.grad(found, logits, gradient), torch.autograd.grad(expected, logits, gradient)
    )


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    dropout = Dropout(p)
    x = torch.ones(999, 1001, requires_grad=True)
    y = dropout(x)
    is_kept = y != 0
    assert is_kept.float().mean().item() == pytest.approx(1 - p, abs=0.002)
    assert is_kept.float().mean(0).std().item() == pytest.approx((p * (1 - p) / 999) ** 0.5, rel=0.1)  # independent
    torch.testing.assert_close(y[is_kept], torch.full_like(y[is_kept], 1 / (1 - p)))
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    torch.testing.assert_close(gradient, y.detach())
    assert dropout.eval()(x) is x or torch.equal(dropout(x), x)


def test_dropout_after_relu_is_the_one_after_the_other():
    x = torch.randn(50, 60, requires_grad=True)
    dropout, gradient = Dropout(0.3), torch.randn(50, 60)
    torch.manual_seed(0)
    y = dropout.after_relu(x)
    torch.manual_seed(0)
    expected = dropout(torch.relu(x))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y, x, gradient), torch.autograd.grad(expected, x, gradient))
    assert dropout.after_relu(torch.full((100,), torch.nan)).isnan().any()
    torch.testing.assert_close(dropout.eval().after_relu(x), torch.relu(x))
