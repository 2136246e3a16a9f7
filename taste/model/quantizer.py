"""Quantizers between aggregator and LM: each token's embedding as a few integers.

Both kinds are those of vector-quantize-pytorch, which is imported only where one is made: it takes seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taste.config import ModelConfig


class Quantizer(nn.Module, ABC):
    """What both quantizers have in common. Until it is switched on, it passes everything through."""

    sizes: list[int]  # entries of each codebook: a token is one integer of each

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("is_on", torch.tensor(False))

    @abstractmethod
    def forward(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize.

        Args:
            z: (batch, text, dim).
            mask: (batch, text), true where a token is real.

        Returns:
            What the integers stand for (batch, text, dim), the integers (batch, text, codebooks), -1 where quantizer
            dropout left one out, and the loss, a number, that keeps `z` near its codes.
        """

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """What integers (batch, text, codebooks) stand for: (batch, text, dim)."""

    @abstractmethod
    def switch_on(self, z: Tensor, reader: Tensor) -> None:
        """Begin to quantize.

        Args:
            z: (n, dim), vectors such as it will see.
            reader: (any, dim), the weight of the linear layer that reads what it gives: what this layer does not see
                need not be kept.
        """


class ResidualVectorQuantizer(Quantizer):
    """Residual vector quantization with codebooks that follow the data as moving averages.

    They begin at the k-means of the training set. In training a random number of the last codebooks is left out, so
    that fewer can be used afterwards, and entries that hardly any token uses are replaced.

    Source: SoundStream (Zeghidour et al. 2021), as TASTE uses it.
    """

    def __init__(self, config: ModelConfig) -> None:
        from vector_quantize_pytorch import ResidualVQ

        super().__init__()
        self.sizes = [config.codebook_size] * config.codebooks
        self.vq = ResidualVQ(
            dim=config.aggregator_dim,
            num_quantizers=config.codebooks,
            codebook_size=config.codebook_size,
            codebook_dim=config.codebook_dim,
            decay=config.codebook_decay,
            kmeans_init=True,
            kmeans_iters=20,
            threshold_ema_dead_code=config.dead_code_uses,
            quantize_dropout=config.quantizer_dropout,
            commitment_weight=config.commitment_weight,
        )

    def forward(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Quantizer.forward`."""
        quantized, code, loss = self.vq(z.float(), mask=mask)
        return quantized, code, loss.sum()

    def decode(self, code: Tensor) -> Tensor:
        """As `Quantizer.decode`; fewer than all codebooks may be given, the first ones."""
        return self.vq.get_output_from_indices(code)

    def switch_on(self, z: Tensor, reader: Tensor) -> None:
        """As `Quantizer.switch_on`."""
        project_onto_principal_axes(self.vq, z, reader, whiten=False)
        dropout, self.vq.quantize_dropout = self.vq.quantize_dropout, False
        was_training = self.training
        with torch.no_grad():
            self.train()
            self.vq(z[None].float())
        self.train(was_training)
        self.vq.quantize_dropout = dropout
        self.is_on.fill_(True)


class FiniteScalarQuantizer(Quantizer):
    """Each of a few numbers is rounded to one of some levels; there is no codebook to learn.

    The one integer of a token counts the combinations of levels.

    Source: Mentzer et al. 2023 (arXiv 2309.15505).
    """

    def __init__(self, config: ModelConfig) -> None:
        from vector_quantize_pytorch import FSQ

        super().__init__()
        self.fsq = FSQ(levels=config.fsq_levels, dim=config.aggregator_dim)
        self.sizes = [self.fsq.codebook_size]

    def forward(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Quantizer.forward`; there is no loss."""
        quantized, code = self.fsq(z.float())
        return quantized, code[..., None].long(), z.new_zeros(())

    def decode(self, code: Tensor) -> Tensor:
        """As `Quantizer.decode`."""
        return self.fsq.indices_to_codes(code[..., 0])

    @torch.no_grad()
    def switch_on(self, z: Tensor, reader: Tensor) -> None:
        """As `Quantizer.switch_on`."""
        project_onto_principal_axes(self.fsq, z, reader, whiten=True)
        if self.fsq.has_projections:  # rounding and its bounds have changed the scale
            levels = F.pad(self.fsq.quantize(self.fsq.project_in(z)), (0, 1), value=1.0)
            back = torch.linalg.lstsq(levels, z).solution
            self.fsq.project_out.weight.copy_(back[:-1].T)
            self.fsq.project_out.bias.copy_(back[-1])
        self.is_on.fill_(True)


def project_onto_principal_axes(quantizer: nn.Module, z: Tensor, reader: Tensor, whiten: bool) -> None:
    """Let the projections around a quantizer begin at the axes along which the reader's output varies most.

    From random axes the quantizer would begin with a random share of what the vectors tell.

    Args:
        quantizer: of the library; left alone where its vectors are as wide as `z`.
        z: (n, dim).
        reader: (any, dim); where it is all zero, as before training, the axes are those of `z` itself.
        whiten: scale each axis to variance one.
    """
    if not quantizer.has_projections:
        return
    width, mean = quantizer.project_in.out_features, z.mean(0)
    if not reader.any():
        reader = torch.eye(len(mean), device=z.device)
    read = (z - mean) @ reader.T
    variance, axes = torch.linalg.eigh(read.T @ read / len(read))
    width = min(width, len(variance))
    axes = axes.flip(1)[:, :width]  # the most first
    scale = variance.flip(0)[:width].clamp(min=1e-12).sqrt() if whiten else 1.0
    with torch.no_grad():
        for linear in (quantizer.project_in, quantizer.project_out):
            nn.init.zeros_(linear.weight)
        quantizer.project_in.weight[:width] = (axes / scale).T @ reader
        quantizer.project_in.bias.copy_(-quantizer.project_in.weight @ mean)
        quantizer.project_out.weight[:, :width] = torch.linalg.pinv(reader) @ (axes * scale)
        quantizer.project_out.bias.copy_(mean)


QUANTIZERS = {"rvq": ResidualVectorQuantizer, "fsq": FiniteScalarQuantizer}
