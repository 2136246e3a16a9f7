"""Which layers of the speech encoder a system reads, and what made them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from taste.config import Config, ModelConfig
from taste.errors import RecipeError
from taste.files import read_json

PROPERTIES = ("model", "weights_sha256", "pad_to_30s")


def scp_name(layer: str) -> str:
    """`feats_l2.scp` for layer "2" of stage 4's `--layers`, `feats_last.scp` for "last"."""
    return f"feats_l{layer}.scp" if layer.isdecimal() else f"feats_{layer}.scp"


def layers_of(config: ModelConfig) -> list[str]:
    """The layers that a system reads, each once; none without aggregator."""
    if config.aggregator == "none":
        return []
    return list(dict.fromkeys([config.key_layer, *config.value_layers]))


def name_layers(config: Config, data_dir: Path) -> Config:
    """The same configuration with the layers that `deep` and `shallow` stand for in a data directory.

    So a system goes on reading what it was trained on when the links of a directory have changed.
    """
    if config.model.aggregator == "none":
        return config
    record = read_json(data_dir / "feats.json", "stage 4")
    names = {role: str(record[f"{role}_layer"]) for role in ("deep", "shallow")}

    def name(layer: str) -> str:
        return names.get(layer, layer)

    layers = {"key_layer": name(config.model.key_layer), "value_layers": [*map(name, config.model.value_layers)]}
    return replace(config, model=replace(config.model, **layers))


def encoder_record(data_dir: Path) -> dict[str, Any]:
    """What made a directory's features, as far as systems that read them depend on it."""
    record = read_json(data_dir / "feats.json", "stage 4")
    return {name: record.get(name) for name in PROPERTIES}


def require_same_encoder(trained: dict[str, Any], system: Path, data_dir: Path) -> None:
    """Refuse to read features of another making than those that a system was trained on.

    Raises:
        RecipeError: names the first property that differs.
    """
    found = encoder_record(data_dir)
    for name, value in trained.items():
        if found.get(name) != value:
            raise RecipeError(
                f"{system} was trained on features whose {name} is {value!r}, but that of {data_dir} is "
                f"{found.get(name)!r}; run stage 4 again with the settings it was trained with"
            )
