"""Tokens stand for what the LM reads, and they carry what the vectors carried."""

import pytest
import torch

from taste.model.quantizer import QUANTIZERS, Quantizer
from tests.helpers import model_config

KINDS = {"rvq": {"codebooks": 3, "codebook_size": 16}, "fsq": {"fsq_levels": [7, 7, 5]}}
each_kind = pytest.mark.parametrize("kind", KINDS)


def vectors(n: int = 500, seed: int = 0) -> torch.Tensor:
    """Clusters on three axes of twelve, and little on the others."""
    random = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(99)))[0]
    centres = torch.randint(-1, 2, (n, 3), generator=random).float()
    return 3 + 4 * centres @ axes.T + 0.01 * torch.randn(n, 12, generator=random)


def make_quantizer(kind: str) -> Quantizer:
    torch.manual_seed(0)
    quantizer = QUANTIZERS[kind](model_config(aggregator="attention", quantizer=kind, **KINDS[kind]))
    quantizer.switch_on(vectors(), torch.eye(12))
    return quantizer.eval()


@each_kind
def test_it_begins_near_what_it_has_seen(kind):
    z, mask = vectors(60, seed=1).view(4, 15, 12), torch.ones(4, 15, dtype=torch.bool)
    quantized, code, _ = make_quantizer(kind)(z, mask)
    unexplained = (quantized - z).square().mean() / (z - z.mean((0, 1))).square().mean()
    assert unexplained < 0.1
    assert code.shape == (4, 15, len(make_quantizer(kind).sizes))


@each_kind
def test_the_integers_are_enough(kind):
    quantizer = make_quantizer(kind)
    z, mask = vectors(60, seed=1).view(4, 15, 12), torch.ones(4, 15, dtype=torch.bool)
    quantized, code, _ = quantizer(z, mask)
    torch.testing.assert_close(quantizer.decode(code), quantized)
    assert all(code[..., i].min() >= 0 and code[..., i].max() < size for i, size in enumerate(quantizer.sizes))


@each_kind
def test_padding_and_neighbours_change_no_token(kind):
    quantizer, z = make_quantizer(kind), vectors(30, seed=1).view(2, 15, 12)
    alone = quantizer(z[:1], torch.ones(1, 15, dtype=torch.bool))[1]
    padded = torch.cat((z, torch.full((2, 4, 12), 1e3)), dim=1)
    mask = torch.arange(19)[None].expand(2, -1) < 15
    assert torch.equal(quantizer(padded, mask)[1][:1, :15], alone)


def test_padding_teaches_the_codebooks_nothing():
    z = vectors(60, seed=1).view(4, 15, 12)
    padded = torch.cat((z, torch.full((4, 5, 12), 1e3)), dim=1)
    books = []
    for values, size in ((z, 15), (padded, 20)):
        quantizer = make_quantizer("rvq").train()
        quantizer.vq.quantize_dropout = False
        torch.manual_seed(0)
        quantizer(values, torch.arange(size)[None].expand(4, -1) < 15)
        books.append(quantizer.vq.codebooks)
    torch.testing.assert_close(*books)


def test_fewer_codebooks_can_be_used():
    quantizer = make_quantizer("rvq")
    z, mask = vectors(60, seed=1).view(4, 15, 12), torch.ones(4, 15, dtype=torch.bool)
    code = quantizer(z, mask)[1]
    errors = [(quantizer.decode(code[..., :n]) - z).square().mean().item() for n in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)


def test_training_leaves_out_a_random_number_of_codebooks():
    quantizer = make_quantizer("rvq").train()
    z, mask = vectors(60, seed=1).view(4, 15, 12), torch.ones(4, 15, dtype=torch.bool)
    used = {int((quantizer(z, mask)[1][0, 0] >= 0).sum()) for _ in range(40)}
    assert used == {1, 2, 3}


def test_what_nobody_reads_is_not_kept():
    axes = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    z = torch.randn(400, 12, generator=torch.Generator().manual_seed(2)) * torch.tensor([9.0] * 6 + [1.0] * 6) @ axes.T
    reader = axes[:, 6:].T  # of the axes of little variance
    config = model_config(aggregator="attention", quantizer="rvq", codebook_dim=6, codebooks=4, codebook_size=64)
    quantizer = QUANTIZERS["rvq"](config)
    quantizer.switch_on(z, reader)
    quantized, _, _ = quantizer.eval()(z[None], torch.ones(1, 400, dtype=torch.bool))
    error = (quantized[0] - z) @ reader.T
    assert error.square().mean() < 0.2 * (z @ reader.T).square().mean()
