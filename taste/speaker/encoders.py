"""Speaker embeddings: one vector an utterance.

`campplus` is what CosyVoice conditions its LM and flow on (CAM++, Wang et al. 2023, arXiv 2303.00332; 192-dim).
`resemblyzer` is the GE2E encoder (Wan et al. 2018, arXiv 1710.10467; 256-dim) with the weights that the Resemblyzer
package carries, for machines that cannot fetch CosyVoice's; the package itself needs a compiler, its weights do not.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchaudio.compliance.kaldi import fbank
from torchaudio.transforms import MelSpectrogram

from taste.archives import ArchiveWriter
from taste.audio import SAMPLE_RATE, read_speech
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import atomic_path, require, sha256, write_json
from taste.progress import progress
from taste.registry import fetch_wheel_member
from taste.speaker import campplus
from taste.tables import read_table

BACKENDS = ("campplus", "resemblyzer")
CAMPPLUS_SHORTEST_SECONDS = 0.1


class SpeakerEncoder(Protocol):
    """A backend: `record` goes to `spk_emb.json` (backend, dim, sha256 of the weights)."""

    record: dict[str, Any]

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed one utterance: float32 (samples,) at 16 kHz to float32 (dim,).

        Raises:
            UtteranceError: the utterance is too short, or silent.
        """


def load_speaker_encoder(backend: str, pretrained_dir: str | Path, cosyvoice_dir: str | Path | None) -> SpeakerEncoder:
    """Load a backend of `BACKENDS`.

    Args:
        backend: its name.
        pretrained_dir: where the weights of `resemblyzer` are kept.
        cosyvoice_dir: the CosyVoice-300M directory, with `campplus.onnx`; only `campplus` needs it.

    Raises:
        RecipeError: no such backend, or its weights are missing.
    """
    if backend == "resemblyzer":
        return ResemblyzerEncoder(Path(pretrained_dir))
    if backend != "campplus":
        raise RecipeError(f"no speaker backend {backend!r}; there are {', '.join(BACKENDS)}")
    if cosyvoice_dir is None:
        raise RecipeError("the speaker backend campplus needs campplus.onnx of CosyVoice-300M: give --cosyvoice_dir")
    return CampplusEncoder(Path(cosyvoice_dir) / "campplus.onnx")


def embed_data_dir(data_dir: str | Path, ark: str | Path, encoder: SpeakerEncoder, allow_pipes: bool = False) -> None:
    """Write the speaker embedding of every utterance to `ark`, with `spk_emb.scp` and `spk_emb.json` in `data_dir`.

    Utterances whose audio is unfit, too short or silent are named, counted and left out.

    Raises:
        RecipeError: no `wav.scp`, or a command in it without `allow_pipes`.
    """
    data_dir = Path(data_dir)
    wav_scp = read_table(data_dir / "wav.scp", "stage 1")
    skipped = Skipped("speaker embeddings")
    with ArchiveWriter(ark, data_dir / "spk_emb.scp") as archive:
        for utt, source in progress(wav_scp.items(), "speaker embeddings", len(wav_scp)):
            try:
                archive.write(utt, encoder.embed(read_speech(source, allow_pipes)))
            except UtteranceError as error:
                skipped.add(utt, error)
    skipped.report(len(wav_scp), may_be_all=True)
    write_json(data_dir / "spk_emb.json", encoder.record)


class CampplusEncoder:
    """CAM++ as CosyVoice's `tools/extract_embedding.py` runs it: on Kaldi's fbank, mean over time subtracted."""

    def __init__(self, path: Path) -> None:
        """Load the ONNX model.

        Raises:
            RecipeError: the file is missing or no ONNX model.
        """
        import onnxruntime  # half a second that Resemblyzer does not need

        require(path, "stage 3 (or --cosyvoice_dir, the directory of CosyVoice-300M)")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise RecipeError(f"{path} cannot be loaded as an ONNX model ({error})") from error
        dim = len(self.embed(np.zeros(SAMPLE_RATE, np.float32)))  # the file itself may leave it open
        self.record = {"backend": "campplus", "dim": dim, "sha256": sha256(path)}

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed one utterance, see `SpeakerEncoder.embed`."""
        feats = campplus_feats(samples)[None].numpy()
        (embedding,) = self.session.run(None, {self.session.get_inputs()[0].name: feats})
        return embedding.flatten().astype(np.float32)


def campplus_feats(samples: np.ndarray) -> Tensor:
    """What CAM++ reads: Kaldi's fbank with its mean over time subtracted, (samples,) at 16 kHz to (frames, 80).

    Raises:
        UtteranceError: the utterance is too short.
    """
    if len(samples) < CAMPPLUS_SHORTEST_SECONDS * SAMPLE_RATE:
        raise UtteranceError(f"too short for a speaker embedding ({len(samples)} samples)")
    waveform = torch.from_numpy(samples)[None]
    feats = fbank(waveform, num_mel_bins=campplus.MEL_BINS, dither=0, sample_frequency=SAMPLE_RATE)
    return feats - feats.mean(dim=0, keepdim=True)


class GE2E(nn.Module):
    """Three LSTM layers over mel frames; the last state, projected, is the embedding. Parameter names as upstream's."""

    MEL_BINS = 40
    DIM = 256
    LAYERS = 3

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(self.MEL_BINS, self.DIM, self.LAYERS, batch_first=True)
        self.linear = nn.Linear(self.DIM, self.DIM)

    def forward(self, mel: Tensor) -> Tensor:
        """(batch, frames, 40) power mel spectrograms to (batch, 256), of length 1 and not negative."""
        _, (hidden, _) = self.lstm(mel)
        return F.normalize(F.relu(self.linear(hidden[-1])), dim=1)


class ResemblyzerEncoder:
    """Resemblyzer 0.1.4's utterance embedding: the mean over windows of 1.6 s, 1.3 of them starting each second.

    The volume of quiet utterances is raised as there; silence is not cut out, which would take its voice detector.
    """

    WHEEL = "Resemblyzer==0.1.4"
    WHEEL_SHA256 = "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
    WEIGHTS_IN_WHEEL = "resemblyzer/pretrained.pt"
    FILE = "speaker-resemblyzer.safetensors"
    HOP = SAMPLE_RATE // 100
    WINDOW_FRAMES = 160  # 1.6 s
    WINDOWS_A_SECOND = 1.3
    LEAST_COVERAGE = 0.75  # a last window with less speech in it is dropped
    TARGET_DBFS = -30.0

    def __init__(self, pretrained_dir: Path) -> None:
        """Load the weights, fetching them first where they are missing.

        Raises:
            RecipeError: they cannot be fetched, or the file is damaged.
        """
        path = fetch_resemblyzer(pretrained_dir)
        self.network = GE2E().eval()
        try:
            with safe_open(path, "pt") as file:
                source_sha256 = file.metadata()["source_sha256"]
                self.network.load_state_dict({name: file.get_tensor(name) for name in self.network.state_dict()})
        except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
            raise RecipeError(f"{path} is damaged ({error}); remove it and run stage 3 again") from error
        self.record = {"backend": "resemblyzer", "dim": GE2E.DIM, "sha256": source_sha256}
        self.mel = MelSpectrogram(
            SAMPLE_RATE, n_fft=400, hop_length=self.HOP, n_mels=GE2E.MEL_BINS, power=2.0, pad_mode="constant",
            norm="slaney", mel_scale="slaney",
        )  # fmt: skip

    @torch.inference_mode()
    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed one utterance, see `SpeakerEncoder.embed`."""
        level = float(np.sqrt(np.mean(samples**2)))
        if level == 0:
            raise UtteranceError("silent from beginning to end: it has no speaker")
        waveform = torch.from_numpy(samples) * max(1.0, 10 ** (self.TARGET_DBFS / 20) / level)
        starts = self._window_starts(len(samples))
        needed = (starts[-1] + self.WINDOW_FRAMES) * self.HOP
        mel = self.mel(F.pad(waveform, (0, max(0, needed - len(samples))))).T  # (frames, 40)
        windows = torch.stack([mel[start : start + self.WINDOW_FRAMES] for start in starts])
        return F.normalize(self.network(windows).mean(dim=0), dim=0).numpy()

    def _window_starts(self, samples: int) -> list[int]:
        """First frames of the windows."""
        step = round(SAMPLE_RATE / self.WINDOWS_A_SECOND / self.HOP)
        frames = math.ceil((samples + 1) / self.HOP)
        starts = list(range(0, max(1, frames - self.WINDOW_FRAMES + step + 1), step))
        covered = samples / self.HOP - starts[-1]
        return starts[:-1] if len(starts) > 1 and covered < self.LEAST_COVERAGE * self.WINDOW_FRAMES else starts


def fetch_resemblyzer(pretrained_dir: str | Path) -> Path:
    """Take the GE2E weights out of Resemblyzer's wheel, once.

    Returns:
        `pretrained_dir/speaker-resemblyzer.safetensors`.

    Raises:
        RecipeError: the registry cannot be reached, or the wheel is another one.
    """
    path = Path(pretrained_dir) / ResemblyzerEncoder.FILE
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fetch_wheel_member(
            ResemblyzerEncoder.WHEEL,
            ResemblyzerEncoder.WHEEL_SHA256,
            ResemblyzerEncoder.WEIGHTS_IN_WHEEL,
            Path(folder) / "pretrained.pt",
        )
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state"]
        metadata = {"source": ResemblyzerEncoder.WHEEL, "source_sha256": sha256(checkpoint)}
    weights = {name: state[name].contiguous() for name in GE2E().state_dict()}
    with atomic_path(path) as partial:
        save_file(weights, partial, metadata)
    return path
