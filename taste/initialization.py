"""Where a system's training starts: from another system, or from CosyVoice's own LM."""

from __future__ import annotations

from pathlib import Path

from taste.checkpoint import BEST, fit_weights, load_llm, load_weights
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.files import read_json
from taste.model.joint import JointModel
from taste.units.record import first_difference


def initialize(model: JointModel, init: Path, train_set: UnitDataset) -> None:
    """Load the weights that training starts from; the aggregator keeps its own where they have none.

    Args:
        init: the directory of a trained system, or upstream's `llm.pt`.

    Raises:
        RecipeError: sizes differ, with the first names that do; or text tokens or units are not those of `train_set`.
    """
    if init.is_dir():
        record = read_json(init / "train.json", f"training of {init.name}")
        _require_same_inputs(record["tokens"], record["units"], init, train_set)
        path = init / BEST
        weights = load_weights(path, f"training of {init.name}")
    else:
        path = init
        weights = load_llm(path)
        _require_cosyvoice_inputs(path, train_set)
    fit_weights(model, weights, path, may_lack="aggregator.")


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
