"""What the benchmark measures: work beside a peer with a mark to reach, and figures that must stay within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from taste.benchmark import (
    aggregation,
    decoding,
    features,
    joining,
    quality,
    reading,
    recordings,
    scores,
    training_step,
    units,
)
from taste.benchmark.harness import Side
from taste.benchmark.models import ROOT, librispeech_model
from taste.config import load_config
from taste.precision import compute_dtype
from taste.unit2wav.mel import FRAME_RATE
from taste.unit2wav.unit_to_mel_training import F0_EVERY

DTYPES = ("float32", "bfloat16")
LEAST_COSINE = 0.998  # of a frame, each dimension normalized
MEMORY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "THP_MEM_ALLOC_ENABLE")  # that path.sh sets
LOUD = -10.0  # dB of an utterance's level, above which a frame is no silence


@dataclass(frozen=True)
class Row:
    """Work that two sides do.

    Attributes:
        work: what it is.
        ours, peer: the sides.
        reach: how many times as fast as the peer ours is to be; None: no mark.
        reach_memory: the share of the peer's peak memory that ours is to stay within; None: no mark.
        reach_rate: the share of the machine's rate of matrix products that ours is to reach; None: no mark.
        if_missed: what stands in the way of the mark, in words.
    """

    work: str
    ours: Side
    peer: Side
    reach: float | None = None
    reach_memory: float | None = None
    reach_rate: float | None = None
    if_missed: str = ""


@dataclass(frozen=True)
class Check:
    """A figure that has to stay within a bound.

    Attributes:
        what: it is.
        sides: that give values, or whose peak memory is the value; the figure is the last one's relative change from
            the first one's, or the only one's value.
        bound: the most it may be, or with `is_least` the least.
        of_memory: whether the values are peak memory.
        if_missed: what stands in the way of the bound, in words.
    """

    what: str
    sides: Sequence[Side]
    bound: float
    is_least: bool = False
    of_memory: bool = False
    if_missed: str = ""


def has_amx() -> bool:
    """Whether this CPU multiplies matrices with AMX."""
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16"))


def best_dtype(device: str) -> str:
    """The type that the recipe computes in on a device when it may choose."""
    return str(compute_dtype("auto", torch.device(device))).removeprefix("torch.")


def cpu_rows(pretrained_dir: Path, corpus: str | None) -> list[Row]:
    """Work on a CPU.

    Args:
        pretrained_dir: where Whisper's weights are kept.
        corpus: a folder with utterances to be encoded; None: made ones.
    """
    return [*feature_rows(pretrained_dir, corpus), *lm_rows(), *score_rows(pretrained_dir)]


def feature_rows(pretrained_dir: Path, corpus: str | None) -> list[Row]:
    """Whisper's encoder and the assignment of units."""
    dtype = best_dtype("cpu")
    padded, short = (12.0, 2.5) if has_amx() else (5.0, None)
    rows = []
    for model in ("base", "small"):
        inputs = {"model": model, "pretrained_dir": str(pretrained_dir), "of_each": 1, "corpus": corpus}
        ours = Side(f"taste, {dtype}", features.ours, {**inputs, "dtype": "auto"})
        openai, faster = features.openai_whisper, features.fastest_faster_whisper
        work = f"features of 40 s by Whisper {model}, two layers to archives"
        peers = [
            (Side("openai-whisper, windows of 30 s, float32", openai, {**inputs, "padded": True}), padded),
            (Side("openai-whisper, true length, float32", openai, {**inputs, "padded": False}), short),
            (Side("faster-whisper, windows of 30 s, its fastest type, last layer only", faster, inputs), 2.0),
        ]
        rows += [Row(work, ours, peer, reach) for peer, reach in peers]
        if model == "base":
            given_back = Side(f"taste, {dtype}, memory as glibc gives it", ours.factory, ours.settings, MEMORY)
            rows.append(Row(f"{work}; memory is kept, and in large pages, as path.sh has it", ours, given_back, 1.0))
    hour = {"seconds": 3600.0}
    assignment = Side("taste", units.ours, hour), Side("scikit-learn's predict", units.scikit_learn, hour)
    why = (
        "Both take nearly all of their time for the same products in float32. In bfloat16 these would take half of it, "
        "but frames between two centroids would change their units."
    )
    at_once, alone = Side("taste", recordings.check), Side("one thread", recordings.check, {"readers": 1})
    return [
        *rows,
        Row("k-means units of an hour's frames", *assignment, 2.0, if_missed=why),
        Row(f"stage 1's look at {recordings.UTTERANCES} recordings", at_once, alone, 1.0),
    ]


def lm_rows() -> list[Row]:
    """Training and decoding."""
    config, dtype = librispeech_model(), best_dtype("cpu")
    step = {"config": config, "dtype": dtype}
    sides = {name: Side(f"upstream, {name}", training_step.upstream, {**step, "dtype": name}) for name in DTYPES}
    ours = Side(f"taste, {dtype}", training_step.ours, step)
    why = (
        "Both sides have the same products of weights, which run at nearly the machine's rate and are most of ours: "
        "what is left to win is attention, dropout and copies."
    )
    size = f"{training_step.UTTERANCES} x {training_step.TEXT + training_step.UNITS + 3} tokens, 49 M parameters"
    rows = [
        Row(f"LM training step, forward and backward, {size}", ours, sides["float32"], 4.0, 0.6, if_missed=why),
        Row("LM training step, both under bfloat16 autocast", ours, sides["bfloat16"], 2.0, 0.6, if_missed=why),
    ]
    joined = Side("taste", joining.ours), Side("rows by index and pad_sequence", joining.pytorch)
    count = f"{joining.UTTERANCES} x {joining.TEXT + joining.UNITS} positions"
    rows.append(Row(f"sequences of the LM, put together, forward and backward, {count}", *joined, 1.0))
    attention = Side("taste", aggregation.ours), Side("nn.MultiheadAttention", aggregation.pytorch)
    rows.append(Row("attention of text over speech, forward and backward", *attention, 1.0))
    for batch, seconds, reach in ((1, 8, 3.0), (16, 4, 20.0)):
        inputs = {"config": config, "batch": batch, "seconds": (seconds,)}
        sides = Side(f"taste, {dtype}", decoding.ours, inputs), Side("upstream, float32", decoding.upstream, inputs)
        rows.append(Row(f"autoregressive decoding, {batch} x {seconds} s at once", *sides, reach))
    return rows + epoch_rows()


def epoch_rows() -> list[Row]:
    """Training epochs of egs/mini's size."""
    ours = Side("from archives", reading.epoch_from_archives)
    once, again = (
        Side(name, reading.epoch_of_taste, {"finds_once": finds_once})
        for name, finds_once in (("found once", True), ("found in each epoch", False))
    )
    occurring, all_tokens = (
        Side(name, reading.epoch_of_embeddings, {"narrows": narrows})
        for name, narrows in (("tokens that occur", True), ("all tokens", False))
    )
    busy = "Reading does not wait for the disk here, but takes some of the time of the processors that multiply."
    epoch = "a training epoch of egs/mini's size"
    return [
        Row(f"{epoch}, read from archives", ours, Side("from memory", reading.epoch_in_memory), 0.95, if_missed=busy),
        Row(f"{epoch}, batches of like length", ours, Side("of any length", reading.epoch_as_they_come), 1.0),
        Row(f"{epoch}, text tokens that are trained", occurring, all_tokens, 1.0),
        Row("a training epoch of taste, what its fixed attention finds in archives", once, again, 1.0),
    ]


def score_rows(pretrained_dir: Path) -> list[Row]:
    """What stages 11 and 12 hear."""
    inputs = {"model": "base", "pretrained_dir": str(pretrained_dir)}
    transcripts = (
        Side("taste", scores.our_transcripts, inputs),
        Side("openai-whisper's transcribe, greedy", scores.openai_transcripts, inputs),
    )
    opinions = Side("taste", scores.our_quality), Side("speechmos", scores.speechmos_quality)
    pitch = Side("taste", scores.our_pitch), Side("librosa's pYIN in its own steps", scores.librosa_pitch)
    at_rate = {"rate": FRAME_RATE // F0_EVERY}, {"rate": FRAME_RATE}
    some, every = (Side(f"{each['rate']} a second", scores.our_pitch, each) for each in at_rate)
    return [
        Row(f"transcripts and word times of {scores.UTTERANCES} utterances by Whisper base", *transcripts, 1.0),
        Row(f"DNSMOS of {scores.UTTERANCES} utterances", *opinions, 1.0),
        Row(f"F0 of {scores.UTTERANCES} utterances", *pitch, 1.0),
        Row(f"F0 of {scores.UTTERANCES} utterances for the vocoder's training", some, every, 1.0),
    ]


def gpu_rows() -> list[Row]:
    """Work on a GPU, in bfloat16."""
    conf = ROOT / "egs/librispeech/conf"
    files = [ROOT / "conf/default.yaml", conf / "model_300m.yaml", conf / "train.yaml", ROOT / "conf/text_only.yaml"]
    where = {"device": "cuda", "dtype": "bfloat16"}
    step = {"config": load_config(files, ["seed=0"]).model, **where}
    sides = (Side("taste", training_step.ours, step), Side("upstream", training_step.upstream, step))
    rows = [Row("LM training step of CosyVoice-300M, on the GPU", *sides, reach_rate=0.45)]
    for batch, seconds in ((1, 8), (64, 4)):
        inputs = {**step, "batch": batch, "seconds": (seconds,)}
        ours, upstream = Side("taste", decoding.ours, inputs), Side("upstream", decoding.upstream, inputs)
        one_by_one = Side("steps one by one", decoding.ours, {**inputs, "by_graphs": False})
        work = f"decoding by CosyVoice-300M, {batch} x {seconds} s at once, on the GPU"
        rows += [Row(work, ours, upstream), Row(f"{work}, steps as CUDA graphs", ours, one_by_one, 1.0)]
    inputs = {"model": "large-v3", "pretrained_dir": "", "of_each": 4, "corpus": None, **where}
    sides = (
        Side("taste", features.ours, inputs),
        Side("openai-whisper, windows of 30 s, bfloat16", features.openai_whisper, {**inputs, "padded": True}),
    )
    return [*rows, Row("features of 160 s by Whisper large-v3's sizes, on the GPU", *sides)]


def checks(recipe: Path, pretrained_dir: Path, corpus: str | None) -> list[Check]:
    """Figures that speed must not change; arguments as of `cpu_rows` and `quality.loss_on_features`."""
    where = {"recipe": recipe, "system": "taste", "test_set": "test", "pretrained_dir": pretrained_dir}
    dtype = best_dtype("cpu")
    losses = [Side(name, quality.loss_on_features, {**where, "dtype": name}) for name in ("float32", dtype)]
    corpora = [Side(f"{n:,} utterances", reading.training_on, {"utterances": n}) for n in (1_000, 10_000, 100_000)]
    alike = {"model": "base", "pretrained_dir": str(pretrained_dir), "corpus": corpus, "dtype": dtype}
    alike |= {"of_each": 4, "least": LEAST_COSINE}
    apart, loud_apart = (
        Side("share", quality.frames_apart, {**alike, "least_level": level}) for level in (-math.inf, LOUD)
    )
    cosines = f"frames in {dtype} whose cosine to those in float32 is below {LEAST_COSINE}"
    varies = (
        "Of an utterance a few numbers are held, in all some MB: the peak itself varies by 1 to 2 % from run to run."
    )
    why = "They are of silences, where the last blocks look about: see the frames that are louder."
    return [
        Check(cosines, [apart], 0.0, if_missed=why),
        Check(f"{cosines}, of frames above {LOUD:g} dB of their utterance's level", [loud_apart], 0.001),
        Check(f"unit loss of egs/mini's taste, features in {dtype} instead of float32", losses, 0.005),
        Check(
            "peak memory of training on 100,000 utterances instead of 1,000",
            corpora,
            0.02,
            of_memory=True,
            if_missed=varies,
        ),
    ]
