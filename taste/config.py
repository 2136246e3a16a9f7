"""Configurations: flat YAML files, checked before any work starts."""

from __future__ import annotations

import contextlib
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from taste.errors import RecipeError
from taste.files import require
from taste.precision import CHOICES as DTYPES

T = typing.TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the joint model; those of CosyVoice-300M stand in its `cosyvoice.yaml`."""

    text_token_size: int
    speech_token_size: int
    spk_embed_dim: int
    text_encoder_input_size: int
    dim: int
    attention_heads: int
    linear_units: int
    text_encoder_blocks: int
    llm_blocks: int
    dropout: float
    unit_dropout: float  # how many of the units the LM goes on from are hidden in training
    encoder_dim: int  # width of the speech encoder's layers
    aggregator: str  # none | attention | layer_mix | speech_query | whisper | whisper_attention
    aggregator_dim: int
    aggregator_heads: int
    aggregator_layers: int
    key_layer: str  # of the speech encoder: deep or shallow, as stage 4 links them; l<K> or last
    value_layers: list[str]  # one, or several for layer_mix
    query_stride: int  # of speech_query: every how many frames ask
    speech_of: str  # itself | another: of the same speaker, with other words (a control)
    pooling: str  # none | word | utterance: what shares its mean
    quantizer: str  # none | rvq | fsq
    codebooks: int  # of rvq
    codebook_size: int
    codebook_dim: int
    codebook_decay: float  # of the moving averages, an update
    dead_code_uses: float  # an entry used less often in an update, on average, is replaced
    quantizer_dropout: bool  # leave out a random number of the last codebooks in training
    commitment_weight: float
    fsq_levels: list[int]  # one number for each dimension
    speech_encoder_blocks: int  # causal, between z and the fusion
    fusion: str  # sum | weighted_sum | concat


@dataclass(frozen=True)
class TrainConfig:
    """How a system is trained."""

    seed: int
    epochs: int
    patience: int  # epochs without a better dev loss after which training stops; 0: never
    batch_units: int  # units of a batch, padding included
    batches_per_update: int  # whose gradients are accumulated, those of all processes counted
    learning_rates: dict[str, float]  # peak, by part of the model: `lm`, `lm.llm`, `aggregator`; other parts stay fixed
    frozen: list[str]  # parts of those that stay fixed all the same, as `speech.aggregator.blocks.0`
    warmup_steps: int
    final_learning_rate: float  # as a fraction of the peak, reached along half a cosine
    weight_decay: float
    grad_clip: float
    dtype: str  # auto | float32 | bfloat16: the type of autocast; auto goes by the hardware
    checkpoint_steps: int  # updates between two states that training can be resumed from; each epoch ends with one
    quantizer_epoch: int  # from which on the quantizer is on
    average_epochs: int  # how many of the best epochs' weights go into the average; 0: none


@dataclass(frozen=True)
class Config:
    """A system's configuration."""

    model: ModelConfig
    train: TrainConfig


WHISPER_TEXT = 444  # tokens of a transcript that Whisper's decoder takes: its 448 without the prefix


def most_tokens(config: ModelConfig) -> int:
    """The most text tokens that an utterance may have."""
    return WHISPER_TEXT if config.aggregator.startswith("whisper") else sys.maxsize


def codebooks_of(config: ModelConfig) -> int:
    """How many integers a TASTE token has; none without quantizer."""
    return {"none": 0, "rvq": config.codebooks, "fsq": 1}[config.quantizer]


CHOICES = {
    "aggregator": ("none", "attention", "layer_mix", "speech_query", "whisper", "whisper_attention"),
    "speech_of": ("itself", "another"),
    "pooling": ("none", "word", "utterance"),
    "quantizer": ("none", "rvq", "fsq"),
    "fusion": ("sum", "weighted_sum", "concat"),
    "dtype": DTYPES,
}


def load_config(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Config:
    """Read YAML files, a later one overriding an earlier one, then `key=value` overrides.

    A file may say `like: other.yaml`: it then says only what is different from that file beside it.

    Raises:
        RecipeError: a file is missing or no mapping, a key is unknown, absent or of the wrong type.
    """
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    for path in paths:
        for file, mapping in _likes(Path(path)).items():
            for key, value in mapping.items():
                values[key], origin[key] = value, str(file)
        values.pop("like", None)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RecipeError(f"{override!r}: an override reads key=value")
        values[key], origin[key] = yaml.safe_load(value), "the command line"
    _check_names((ModelConfig, TrainConfig), values, origin, paths)
    config = Config(_fill(ModelConfig, values, origin), _fill(TrainConfig, values, origin))
    _check(config, origin)
    return config


def save_config(config: Config) -> str:
    """The configuration as YAML that `load_config` reads: one setting a line, in a fixed order."""
    return dump_settings({**vars(config.model), **vars(config.train)})


def load_settings(kind: type[T], path: str | Path) -> T:
    """Read one YAML file into a dataclass, all of whose fields it has to name.

    Raises:
        RecipeError: as `load_config`.
    """
    values = _read_mapping(require(path, "the recipe's conf/ directory"))
    origin = dict.fromkeys(values, str(path))
    _check_names((kind,), values, origin, [path])
    return _fill(kind, values, origin)


def dump_settings(settings: Mapping[str, object]) -> str:
    """Settings as YAML, one a line, in their order."""
    return yaml.safe_dump(dict(settings), sort_keys=False, default_flow_style=None)


def _likes(path: Path) -> dict[Path, dict[str, object]]:
    """The files to be read for `path` and what they hold: what it is like first, itself last."""
    read: dict[Path, dict[str, object]] = {}
    while True:
        if path in read:
            raise RecipeError(f"{path} is like itself in the end; one of these files has to do without `like`")
        read = {path: _read_mapping(require(path, "the recipe's conf/ directory")), **read}
        if (other := read[path].get("like")) is None:
            return read
        path = path.parent / str(other)


def _read_mapping(path: Path) -> dict[str, object]:
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(mapping, dict):
        raise RecipeError(f"{path} holds no settings; it should hold one `name: value` a line")
    return mapping


def _check_names(
    kinds: Sequence[type], values: Mapping[str, object], origin: Mapping[str, str], paths: Sequence[str | Path]
) -> None:
    """Refuse settings that no field of `kinds` has, and fields without a value."""
    known = {field.name for kind in kinds for field in fields(kind)}
    for key in values:
        if key not in known:
            raise RecipeError(f"{origin[key]}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
    if missing := sorted(known - set(values)):
        raise RecipeError(f"{', '.join(map(str, paths))}: no value for {', '.join(missing)}")


def _fill(kind: type, values: dict[str, object], origin: dict[str, str]) -> typing.Any:
    """Build a dataclass from the values of its fields, checking each one's type."""
    types = typing.get_type_hints(kind)
    checked = {}
    for name, expected in types.items():
        value = values[name]
        if expected == dict[str, float]:
            checked[name] = _numbers_by_name(name, value, origin[name])
            continue
        if typing.get_origin(expected) is list:
            checked[name] = _list_of(typing.get_args(expected)[0], name, value, origin[name])
            continue
        value = _as_float(value) if expected is float else value
        value = str(value) if expected is str and type(value) is int else value  # a layer's name
        if type(value) is not expected:
            raise RecipeError(f"{origin[name]}: {name} is {value!r}; it should be of type {expected.__name__}")
        checked[name] = value
    return kind(**checked)


def _as_float(value: object) -> object:
    """A number as a float; YAML 1.1 reads 1e-3 as a string. Other values as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _numbers_by_name(name: str, value: object, origin: str) -> dict[str, float]:
    numbers = {key: _as_float(number) for key, number in value.items()} if isinstance(value, dict) else {}
    if not numbers or not all(isinstance(key, str) and type(number) is float for key, number in numbers.items()):
        raise RecipeError(f"{origin}: {name} is {value!r}; it should map names to numbers, as {{lm: 0.001}}")
    return numbers


def _list_of(kind: type, name: str, value: object, origin: str) -> list:
    if isinstance(value, list) and kind is str:
        value = [str(item) if type(item) is int else item for item in value]  # the name of a layer may be a number
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise RecipeError(f"{origin}: {name} is {value!r}; it should be a list of {kind.__name__}, as [a, b]")
    return value


def _check(config: Config, origin: dict[str, str]) -> None:
    for name, choices in CHOICES.items():
        value = vars(config.model).get(name, vars(config.train).get(name))
        if value not in choices:
            raise RecipeError(f"{origin[name]}: {name} is {value!r}; choose one of {', '.join(choices)}")
    model = config.model
    for name, dim in (("attention_heads", model.dim), ("aggregator_heads", model.aggregator_dim)):
        heads = vars(model)[name]
        if heads < 1 or dim % heads or dim // heads % 2:
            raise RecipeError(f"{origin[name]}: a width of {dim} does not divide into {heads} heads of even width")
    for name in ("epochs", "batch_units", "batches_per_update", "checkpoint_steps", "quantizer_epoch"):
        if vars(config.train)[name] < 1:
            raise RecipeError(f"{origin[name]}: {name} has to be at least 1")
    for name in ("aggregator_layers", "query_stride", "codebooks", "codebook_size", "codebook_dim"):
        if vars(model)[name] < 1:
            raise RecipeError(f"{origin[name]}: {name} has to be at least 1")
    if len(model.value_layers) > 1 and model.aggregator not in ("layer_mix", "none"):
        raise RecipeError(
            f"{origin['value_layers']}: the aggregator {model.aggregator} takes one of value_layers, not "
            f"{', '.join(model.value_layers)}; layer_mix takes several"
        )
    if model.aggregator.startswith("whisper") and model.aggregator_dim != model.encoder_dim:
        raise RecipeError(
            f"{origin['aggregator_dim']}: aggregator_dim is {model.aggregator_dim}, but Whisper's decoder is as wide "
            f"as its encoder, {model.encoder_dim}"
        )
    if model.aggregator == "speech_query" and (model.fusion, model.pooling, model.quantizer) != (
        "concat",
        "none",
        "none",
    ):
        raise RecipeError(
            f"{origin['aggregator']}: with speech_query z has the length of the speech, so it takes fusion concat, "
            "pooling none and quantizer none"
        )
    if not model.value_layers:
        raise RecipeError(f"{origin['value_layers']}: value_layers names no layer")
    if model.quantizer != "none" and model.aggregator == "none":
        raise RecipeError(f"{origin['quantizer']}: there is nothing to quantize without an aggregator")
