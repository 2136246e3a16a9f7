"""Where a system's training starts: from another system, or from CosyVoice's own LM."""

from __future__ import annotations

from pathlib import Path

from taste.checkpoint import BEST, fit_weights, load_llm, load_weights
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.files import read_json
from taste.model.joint import JointModel
from taste.model.whisper_aggregator import WhisperAttentionAggregator, WhisperDecoder
from taste.units.record import first_difference
from taste.whisper.weights import load_whisper

HEAD_BATCHES, HEAD_BATCH_UNITS = 20, 1000  # of the training set, to choose the head that follows the text


def initialize(model: JointModel, init: Path | None, train_set: UnitDataset, pretrained_dir: Path | None) -> None:
    """Load the weights that training starts from.

    The speech side keeps its random ones where they have none, but for an aggregator made of Whisper's decoder, which
    takes those of the Whisper model that gave the features.

    Args:
        init: the directory of a trained system, or upstream's `llm.pt`; None for random weights.
        pretrained_dir: where Whisper's weights are kept; None where they are not needed.

    Raises:
        RecipeError: sizes differ, with the first names that do; or text tokens or units are not those of `train_set`,
            or its text tokens are none that Whisper's decoder knows.
    """
    if model.speech is not None and isinstance(model.speech.aggregator, WhisperDecoder):
        _take_whisper_decoder(model.speech.aggregator, train_set, pretrained_dir)
    if init is None:
        return
    if init.is_dir():
        record = read_json(init / "train.json", f"training of {init.name}")
        _require_same_inputs(record["tokens"], record["units"], init, train_set)
        path = init / BEST
        weights = load_weights(path, f"training of {init.name}")
    else:
        path = init
        weights = load_llm(path)
        _require_cosyvoice_inputs(path, train_set)
    fit_weights(model, weights, path, may_lack="speech.")


def _take_whisper_decoder(aggregator: WhisperDecoder, train_set: UnitDataset, pretrained_dir: Path | None) -> None:
    if (token_type := train_set.tokens_record["token_type"]) != "whisper":
        raise RecipeError(
            f"the aggregator whisper reads Whisper's own text tokens, but {train_set.data_dir} has those of "
            f"{token_type}; run stage 4 with --token_type whisper, or take another aggregator"
        )
    name = train_set.encoder_record["model"]
    if pretrained_dir is None:
        raise RecipeError(f"the aggregator whisper needs the directory with the weights of Whisper {name}")
    aggregator.load_decoder(load_whisper(name, pretrained_dir).state_dict(), name)
    if isinstance(aggregator, WhisperAttentionAggregator):
        batches = train_set.batches(HEAD_BATCH_UNITS, seed=0)[:HEAD_BATCHES]
        aggregator.choose_head(batch for batch in train_set.load(batches) if batch.utts)


def _require_same_inputs(tokens: dict, units: dict, init: Path, train_set: UnitDataset) -> None:
    if tokens != train_set.tokens_record:
        raise RecipeError(
            f"{init} was trained on other text tokens ({tokens}) than those of {train_set.data_dir} "
            f"({train_set.tokens_record}); run stage 4 with the same --token_type, or start from another system"
        )
    if name := first_difference(units, train_set.units_record):
        raise RecipeError(
            f"{init} was trained on other units than those of {train_set.data_dir}: {name} is {units.get(name)} there "
            f"and {train_set.units_record.get(name)} here; make both with the same settings (stage 5)"
        )


def _require_cosyvoice_inputs(path: Path, train_set: UnitDataset) -> None:
    """CosyVoice's LM reads Whisper's multilingual text tokens and predicts the units of its own tokenizer."""
    if (token_type := train_set.tokens_record["token_type"]) != "whisper":
        raise RecipeError(f"{path} reads Whisper's text tokens, but {train_set.data_dir} has those of {token_type}")
    if (backend := train_set.units_record["backend"]) != "cosyvoice":
        raise RecipeError(
            f"{path} predicts units of CosyVoice's tokenizer, but those of {train_set.data_dir} are from {backend}; "
            "run stage 5 with --units_backend cosyvoice"
        )
