"""Stage 4: text tokens and Whisper features of a data directory."""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from whisper.model import Whisper

from taste.archives import ArchiveWriter, check_storage, matrix_bytes
from taste.audio import SAMPLE_RATE
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import atomic_path, write_json
from taste.precision import check_device, compute_dtype
from taste.progress import progress
from taste.tables import read_table, write_table
from taste.text.tokens import load_text_tokenizer
from taste.whisper.features import (
    FRAMES_PER_SECOND,
    WINDOW_SAMPLES,
    batches,
    check_layers,
    encode,
    frames_of,
    read_usable,
)
from taste.whisper.layers import scp_name
from taste.whisper.weights import load_whisper, whisper_record

logger = logging.getLogger(__name__)

BYTES_AROUND_A_MATRIX = 100  # its name and header in the archive, and its line in the scp, roughly


@dataclass(frozen=True)
class FeatureOptions:
    """Settings of stage 4.

    Attributes:
        whisper_model: name of the Whisper model whose encoder is run.
        pretrained_dir: holds its weights.
        layers: encoder layers to write, as in `taste.whisper.features.check_layers`.
        deep_layer: the one of them that `feats_deep.scp` links to.
        shallow_layer: the one of them that `feats_shallow.scp` links to.
        storage: as in `taste.archives.STORAGE`.
        pad_to_30s: run the encoder on audio padded to 30 s.
        dtype: as in `taste.precision.compute_dtype`.
        device: `cpu` or `cuda`.
        batch_seconds: speech in one batch.
        token_type: `whisper` or `sentencepiece`.
        sentencepiece_model: the sentencepiece model where that is the type.
        allow_pipes: whether commands in `wav.scp` may be run.
    """

    whisper_model: str
    pretrained_dir: str
    layers: list[str]
    deep_layer: str
    shallow_layer: str
    storage: str
    pad_to_30s: bool
    dtype: str
    device: str
    batch_seconds: float
    token_type: str
    sentencepiece_model: str | None
    allow_pipes: bool

    def feats_record(self) -> dict[str, Any]:
        """What `feats.json` says.

        Raises:
            RecipeError: a setting that cannot be, or the model's weights are missing.
        """
        model = whisper_record(self.whisper_model, self.pretrained_dir)
        check_layers(self.layers, model["dims"]["n_audio_layer"])
        for role, layer in (("deep", self.deep_layer), ("shallow", self.shallow_layer)):
            if layer not in self.layers:
                raise RecipeError(f'--{role}_layer {layer} is not among --layers "{" ".join(self.layers)}"')
        if not self.batch_seconds > 0:
            raise RecipeError(f"--batch_seconds {self.batch_seconds}: it is a positive number")
        return {
            "model": self.whisper_model,
            "source": model["source"],
            "weights_sha256": model["sha256"],
            "layers": self.layers,
            "deep_layer": self.deep_layer,
            "shallow_layer": self.shallow_layer,
            "dim": model["dims"]["n_audio_state"],
            "frames_per_second": FRAMES_PER_SECOND,
            "pad_to_30s": self.pad_to_30s,
            "dtype": str(compute_dtype(self.dtype, check_device(self.device))).removeprefix("torch."),
            "storage": check_storage(self.storage),
        }


def check_space(data_dir: str | Path, ark_dir: str | Path, options: FeatureOptions) -> int:
    """Log the bytes that the features of a data directory will take, from its `utt2dur`.

    Returns:
        That number of bytes.

    Raises:
        RecipeError: the disk has not got them, `utt2dur` is missing or damaged, or as `FeatureOptions.feats_record`.
    """
    record = options.feats_record()
    path = Path(data_dir, "utt2dur")
    needed = 0
    for utt, seconds in read_table(path, "stage 1").items():
        try:
            frames = frames_of(round(float(seconds) * SAMPLE_RATE))
        except (ValueError, OverflowError) as error:
            raise RecipeError(f"{path}: {utt}: {error}; run stage 1 again") from error
        needed += len(options.layers) * (matrix_bytes(frames, record["dim"], options.storage) + BYTES_AROUND_A_MATRIX)
    Path(ark_dir).mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(ark_dir).free
    logger.info(
        "features of %s: layers %s of Whisper %s as %s need %s in %s, where %s are free",
        *(data_dir, " ".join(options.layers), options.whisper_model, options.storage),
        *(_megabytes(needed), ark_dir, _megabytes(free)),
    )
    if needed > free:
        raise RecipeError(
            f"the features of {data_dir} need {_megabytes(needed)}, but {ark_dir} has only {_megabytes(free)} free; "
            "take fewer --layers or --storage compressed, or make room"
        )
    return needed


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def write_text_and_features(
    data_dir: str | Path,
    ark_dir: str | Path,
    options: FeatureOptions,
    job: str | None = None,
    dry_run: bool = False,
) -> None:
    """Write `utt2token`, `utt2word_tokens`, `tokens.json`, `feats_*.scp` with their archives, and `feats.json`.

    Utterances whose audio or transcript cannot be used are named, counted and left out of all of them. Features of an
    earlier run are no longer listed.

    Args:
        data_dir: has `wav.scp`, `text` and `utt2dur`.
        ark_dir: for the archives, `feats_l2.ark` or, with `job` 3, `feats_l2.3.ark`.
        options: the settings.
        job: the directory is this part of a larger one; it may turn out that none of it can be used.
        dry_run: stop when the settings and the space have been checked.

    Raises:
        RecipeError: an input is missing, a setting cannot be, the disk is full, or no utterance can be used.
    """
    data_dir, ark_dir = Path(data_dir), Path(ark_dir)
    check_space(data_dir, ark_dir, options)
    tokenizer = load_text_tokenizer(options.token_type, options.sentencepiece_model)
    if dry_run:
        return
    sources, texts = read_table(data_dir / "wav.scp", "stage 1"), read_table(data_dir / "text", "stage 1")
    skipped = Skipped(f"text tokens and features of {data_dir}")
    words: dict[str, list[list[int]]] = {}  # token ids of each word
    for utt in sorted(sources.keys() | texts.keys(), key=str.encode):
        try:
            if utt not in sources or utt not in texts:
                raise UtteranceError(f"not in {data_dir / ('text' if utt in sources else 'wav.scp')}")
            words[utt] = tokenizer.encode_words(texts[utt])
        except UtteranceError as error:
            skipped.add(utt, error, data_dir / "text")
    remove_features(data_dir)
    model = load_whisper(options.whisper_model, options.pretrained_dir).to(check_device(options.device))
    written = write_features(model, {utt: sources[utt] for utt in words}, data_dir, ark_dir, options, job, skipped)
    tokens = {utt: [token for word in words[utt] for token in word] for utt in written}
    write_table(data_dir / "utt2token", {utt: " ".join(map(str, tokens[utt])) for utt in written})
    lengths = {utt: map(len, words[utt]) for utt in written}
    write_table(data_dir / "utt2word_tokens", {utt: " ".join(map(str, lengths[utt])) for utt in written})
    write_json(data_dir / "tokens.json", tokenizer.record())
    write_json(data_dir / "feats.json", options.feats_record())
    skipped.report(len(sources.keys() | texts.keys()), may_be_all=job is not None)


def remove_features(data_dir: Path) -> None:
    """Remove the features that a data directory lists, and the record of them; archives stay."""
    for path in [data_dir / "feats.json", *data_dir.glob("feats_*.scp")]:
        path.unlink(missing_ok=True)


def write_features(
    model: Whisper,
    sources: dict[str, str],
    data_dir: Path,
    ark_dir: Path,
    options: FeatureOptions,
    job: str | None,
    skipped: Skipped,
) -> list[str]:
    """Write the archives, the scp files and the links to those in use.

    Args:
        model: whose encoder is run, on its device.
        sources: right-hand sides of `wav.scp`.
        data_dir: for `feats_*.scp`.
        ark_dir: for the archives.
        options: the settings.
        job: as in `write_text_and_features`.
        skipped: is told of the utterances whose audio cannot be used.

    Returns:
        The utterances written.

    Raises:
        RecipeError: the disk is full.
    """
    dtype = compute_dtype(options.dtype, model.device)
    written = []
    with contextlib.ExitStack() as stack:
        archives = {}
        for layer in options.layers:
            scp = data_dir / scp_name(layer)
            ark = ark_dir / f"{scp.stem}{f'.{job}' if job else ''}.ark"
            archives[layer] = stack.enter_context(ArchiveWriter(ark, scp, options.storage))
        speech = read_usable(progress(sources.items(), "features"), options.allow_pipes, skipped)
        for batch in batches(speech, _seconds_padded if options.pad_to_30s else _seconds, options.batch_seconds):
            features = encode(model, [samples for _, samples in batch], options.layers, options.pad_to_30s, dtype)
            for (utt, _), by_layer in zip(batch, features, strict=True):
                for layer, matrix in by_layer.items():
                    archives[layer].write(utt, matrix)
                written.append(utt)
    for role, layer in (("deep", options.deep_layer), ("shallow", options.shallow_layer)):
        with atomic_path(data_dir / f"feats_{role}.scp") as partial:
            partial.symlink_to(scp_name(layer))
    return written


def _seconds(item: tuple[str, np.ndarray]) -> float:
    return len(item[1]) / SAMPLE_RATE


def _seconds_padded(item: tuple[str, np.ndarray]) -> float:
    return WINDOW_SAMPLES / SAMPLE_RATE
