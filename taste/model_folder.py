"""What makes `exp/<system>/` complete, so that it tokenizes and speaks on another machine, without data directories.

Training leaves the weights, `config.yaml`, and in `train.json` the records of what made text tokens, features, units
and speaker embeddings; stage 11 adds the vocoder and the model card. Public weights (Whisper's, the speaker encoder's,
CosyVoice-300M's) are not copied, but known by their SHA-256.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from taste.cosyvoice.assets import prepare_cosyvoice
from taste.errors import RecipeError
from taste.files import atomic_path, read_json, require, sha256, write_json
from taste.speaker.encoders import SpeakerEncoder, load_speaker_encoder
from taste.text.tokens import TextTokenizer, load_text_tokenizer
from taste.unit2wav.loading import load_vocoder
from taste.unit2wav.vocoder import Vocoder

SENTENCEPIECE = "sentencepiece.model"
VOCODER = "vocoder"  # folder of the copy
VOCODER_RECORD = "vocoder.json"


def keep_sentencepiece(model: Path | None, tokens: dict[str, Any], system_dir: Path) -> None:
    """Copy the sentencepiece model that made the text tokens beside a system's weights, where one did.

    Args:
        tokens: the contents of `tokens.json`.

    Raises:
        RecipeError: no model is given, or it is another one.
    """
    if tokens["token_type"] != "sentencepiece":
        return
    if model is None:
        raise RecipeError("the text tokens are sentencepiece's: name the model with --sentencepiece_model")
    if sha256(require(model, "stage 4")) != tokens["model_sha256"]:
        raise RecipeError(f"{model} is not the sentencepiece model that made the text tokens; run stage 4 again")
    _copy(model, system_dir / SENTENCEPIECE)


def pack_vocoder(system_dir: Path, vocoder: Vocoder, vocoder_dir: Path) -> None:
    """Copy a vocoder that the recipe trained into a system's folder; of a public one, note which it is.

    Raises:
        RecipeError: the system is not trained, or makes other units than the vocoder's.
    """
    units = read_json(system_dir / "train.json", "training (stages 7 to 9)")["units"]
    vocoder.check_units(units, str(system_dir))
    if vocoder.name == "griffinlim":
        for path in vocoder_dir.iterdir():
            _copy(path, system_dir / VOCODER / path.name)
    write_json(system_dir / VOCODER_RECORD, {"name": vocoder.name, "weights_sha256": vocoder.weights_sha256})


def load_packed_vocoder(
    system_dir: Path, pretrained_dir: Path, device: torch.device, cosyvoice_code: Path | None = None
) -> Vocoder:
    """The vocoder of a system's folder.

    Args:
        pretrained_dir: where CosyVoice-300M is, or is fetched to, where it is the vocoder.
        cosyvoice_code: as in `load_vocoder`.

    Raises:
        RecipeError: stage 11 has not been run, the vocoder's weights are others than were packed, or it takes other
            units than the system makes.
    """
    record = read_json(system_dir / VOCODER_RECORD, "stage 11 (local/pack_model.py)")
    folder = prepare_cosyvoice(pretrained_dir) if record["name"] == "cosyvoice" else system_dir / VOCODER
    vocoder = load_vocoder(record["name"], folder, device, cosyvoice_code)
    if vocoder.weights_sha256 != record["weights_sha256"]:
        raise RecipeError(
            f"{folder} holds another vocoder (SHA-256 {vocoder.weights_sha256}) than {system_dir / VOCODER_RECORD} "
            f"names ({record['weights_sha256']}); run stage 11 again, or get the one it was packed with"
        )
    vocoder.check_units(read_json(system_dir / "train.json", "training")["units"], str(system_dir))
    return vocoder


def load_recorded_tokenizer(tokens: dict[str, Any], system_dir: Path) -> TextTokenizer:
    """The text tokenizer that a system was trained with.

    Args:
        tokens: its record, `tokens.json`.

    Raises:
        RecipeError: the sentencepiece model is missing, or another one.
    """
    tokenizer = load_text_tokenizer(tokens["token_type"], system_dir / SENTENCEPIECE)
    if tokenizer.record() != tokens:
        raise RecipeError(f"{system_dir} was trained with the text tokens {tokens}, not {tokenizer.record()}")
    return tokenizer


def load_recorded_speaker_encoder(record: dict[str, Any], pretrained_dir: Path, system_dir: Path) -> SpeakerEncoder:
    """The speaker encoder that a system was trained with, fetched where it is missing.

    Args:
        record: `spk_emb.json`.

    Raises:
        RecipeError: its weights are not to be had, or others.
    """
    cosyvoice_dir = prepare_cosyvoice(pretrained_dir) if record["backend"] == "campplus" else None
    encoder = load_speaker_encoder(record["backend"], pretrained_dir, cosyvoice_dir)
    for name, value in record.items():
        if encoder.record.get(name) != value:
            raise RecipeError(
                f"{system_dir} was trained with a speaker encoder whose {name} is {value}, but that of "
                f"{pretrained_dir} is {encoder.record.get(name)}"
            )
    return encoder


def _copy(source: Path, destination: Path) -> None:
    with atomic_path(destination) as partial:
        shutil.copyfile(source, partial)
