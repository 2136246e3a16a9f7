"""CosyVoice's S3 tokenizer (speech_tokenizer_v1: 50 Hz, 4096 units) through the s3tokenizer package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from whisper.audio import log_mel_spectrogram

from taste.errors import RecipeError
from taste.files import sha256

MODEL = "speech_tokenizer_v1"
RATE = 50
UNITS = 4096
HEAD_DIM = 64  # of its attention, as in all of Whisper's encoders
# CosyVoice-300M-25Hz holds another tokenizer under the same name, with weights of the same shapes.
SHA256_25HZ = "56285ddd4a83e883ee0cb9f8d69c1089b53a94b1f78ff7e4a0224a27eb4cb486"


def units_record(weights_sha256: str | None, K: int = UNITS) -> dict[str, Any]:
    """What `units.json` says of this tokenizer's units; the hash is None where the weights are not known."""
    return {
        "backend": "cosyvoice",
        "model": MODEL,
        "weights_sha256": weights_sha256,
        "layer": None,
        "K": K,
        "rate": RATE,
        "codebook_sha256": None,
    }


class CosyvoiceUnits:
    """Units of an `s3tokenizer.S3Tokenizer`, a batch at a time, as CosyVoice's `tools/extract_speech_token.py`.

    An utterance of n log-mel frames (100 a second) has ceil(n / 2) units.
    """

    def __init__(self, tokenizer: torch.nn.Module, weights_sha256: str) -> None:
        self.tokenizer = tokenizer
        self.record = units_record(weights_sha256, tokenizer.config.n_codebook_size)

    @torch.inference_mode()
    def encode(self, samples: list[np.ndarray]) -> list[np.ndarray]:
        """Units of a batch, see `taste.units.backend.UnitBackend.encode`."""
        from s3tokenizer import padding

        device = self.tokenizer.device
        mels = [log_mel_spectrogram(utterance, self.tokenizer.config.n_mels) for utterance in samples]
        mel, mel_length = padding(mels)  # (batch, mels, frames), (batch,)
        units, units_length = self.tokenizer.quantize(mel.to(device), mel_length.to(device))
        return [row[:length].cpu().numpy() for row, length in zip(units, units_length, strict=True)]


def load_cosyvoice_units(cosyvoice_dir: Path, device: str) -> CosyvoiceUnits:
    """Load the tokenizer from `speech_tokenizer_v1.onnx` or `.pt` (s3tokenizer's conversion of it).

    Raises:
        RecipeError: the s3tokenizer package or the weights are missing, or they are of another model.
    """
    try:
        from s3tokenizer import onnx2torch
        from s3tokenizer.model import ModelConfig, S3Tokenizer
    except ImportError as error:
        raise RecipeError(
            f"the unit backend cosyvoice needs s3tokenizer ({error}): pip install -r requirements-cosyvoice.txt"
        ) from error
    paths = [cosyvoice_dir / f"{MODEL}.onnx", cosyvoice_dir / f"{MODEL}.pt"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise RecipeError(
            f"{paths[0]} does not exist; stage 3 fetches CosyVoice-300M, or --cosyvoice_dir names where you have it"
        )
    if (digest := sha256(path)) == SHA256_25HZ:
        raise RecipeError(f"{path} is the tokenizer of CosyVoice-300M-25Hz; take that of CosyVoice-300M (50 Hz)")
    try:
        state = onnx2torch(str(path)) if path.suffix == ".onnx" else torch.load(path, "cpu", weights_only=True)
        # the class by its name: s3tokenizer.load_model would choose it by whether "v2" occurs anywhere in the path
        tokenizer = S3Tokenizer(MODEL, ModelConfig(**_sizes(state)))
        tokenizer.load_state_dict(state)
    except Exception as error:  # protobuf, pickle, zip and torch errors
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise RecipeError(f"{path} does not hold the weights of {MODEL} ({reason})") from error
    return CosyvoiceUnits(tokenizer.eval().to(device), digest)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The tokenizer's sizes, which are those of its weights: a smaller one of the same kind is taken, too."""
    width, mels, _ = state["encoder.conv1.weight"].shape
    return {
        "n_mels": mels,
        "n_audio_state": width,
        "n_audio_head": width // HEAD_DIM,
        "n_audio_layer": sum(name.endswith("attn_ln.weight") for name in state),
        "n_codebook_size": len(state["quantizer._codebook.embed"]),
    }
