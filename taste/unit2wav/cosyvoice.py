"""CosyVoice-300M's units to waveform: its flow makes mel frames of them, its HiFT samples, both upstream's own code.

The code is the `cosyvoice` package (FunAudioLLM/CosyVoice), installed or in a checkout. The sizes are those of
`examples/libritts/cosyvoice/conf/cosyvoice.yaml` there, written out here because hyperpyyaml, which reads the copy of
that file beside the weights, runs whatever the file names.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from taste.checkpoint import fit_weights, load_cosyvoice_weights
from taste.errors import RecipeError
from taste.files import sha256
from taste.units.cosyvoice import MODEL, RATE, UNITS, units_record
from taste.units.record import first_difference

SAMPLE_RATE = 22050
MELS = 80
SPEAKER_DIM = 192  # CAM++'s
FLOW, HIFT = "flow.pt", "hift.pt"
WEIGHT_NORM = "parametrizations.weight.original"  # torch's name since 2.1 for what was weight_g (0) and weight_v (1)


class CosyvoiceVocoder:
    """Waveforms as upstream's `CosyVoiceModel.tts` makes them of a whole utterance, with a voice but without a prompt.

    The voice is the speaker embedding alone, as in upstream's SFT inference: prompt units and prompt frames, which
    zero-shot inference takes from a recording, are empty.
    """

    name = "cosyvoice"
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        flow: nn.Module,
        hift: nn.Module,
        weights_sha256: str,
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        """Take the networks.

        Args:
            flow: upstream's `MaskedDiffWithXvec`, see `build_flow`.
            hift: upstream's `HiFTGenerator`, see `build_hift`.
            weights_sha256: of the files that their weights come from.
            device: where they compute.
            seed: of the noise that the flow starts from and that HiFT adds, which is the same for every utterance.
        """
        self.device = torch.device(device)
        self.flow, self.hift = flow.eval().to(self.device), hift.eval().to(self.device)
        self.weights_sha256 = weights_sha256
        self.seed = seed

    def check_units(self, properties: Mapping[str, Any], where: str) -> None:
        """Refuse all units but those of speech_tokenizer_v1, see `taste.unit2wav.vocoder.Vocoder.check_units`."""
        expected = units_record(properties.get("weights_sha256"))  # not known of units that came from elsewhere
        if name := first_difference(dict(properties), expected):
            raise RecipeError(
                f"{where}: {name} is {properties.get(name)}, but the vocoder {self.name} knows only units of {MODEL}, "
                f"whose {name} is {expected[name]}; make units with --units_backend cosyvoice (stage 5), or take the "
                "vocoder that belongs to these"
            )

    @torch.inference_mode()
    def __call__(self, units: Sequence[Tensor], spk_embs: Tensor) -> list[Tensor]:
        """Waveforms of a batch, see `taste.unit2wav.vocoder.Vocoder.__call__`; of no units, one without samples."""
        if spk_embs.shape[1] != SPEAKER_DIM:
            raise RecipeError(
                f"speaker embeddings have {spk_embs.shape[1]} dimensions, but CosyVoice-300M's flow takes CAM++'s "
                f"{SPEAKER_DIM}: run stage 6 with --spk_backend campplus, and train with those"
            )
        return [self._waveform(row, spk_emb) for row, spk_emb in zip(units, spk_embs, strict=True)]

    def _waveform(self, units: Tensor, spk_emb: Tensor) -> Tensor:
        """(units,) and (SPEAKER_DIM,) to (samples,); the flow takes one utterance at a time."""
        if not len(units):
            return torch.zeros(0)
        if not 0 <= units.min() <= units.max() < UNITS:
            beyond = int(units.max() if units.max() >= UNITS else units.min())
            raise RecipeError(f"unit {beyond} lies outside 0 to {UNITS - 1}: it is none of {MODEL}")
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            mel, _ = self.flow.inference(
                token=units[None].to(self.device),
                token_len=torch.tensor([len(units)], dtype=torch.int32, device=self.device),
                prompt_token=torch.zeros(1, 0, dtype=torch.int64, device=self.device),
                prompt_token_len=torch.zeros(1, dtype=torch.int32, device=self.device),
                prompt_feat=torch.zeros(1, 0, MELS, device=self.device),
                prompt_feat_len=torch.zeros(1, dtype=torch.int32, device=self.device),
                embedding=spk_emb[None].to(self.device),
                flow_cache=torch.zeros(1, MELS, 0, 2, device=self.device),
            )  # (1, MELS, frames)
            samples, _ = self.hift.inference(speech_feat=mel)  # (1, samples)
        return samples[0].float().cpu()


def load_cosyvoice_vocoder(
    cosyvoice_dir: str | Path,
    cosyvoice_code: str | Path | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> CosyvoiceVocoder:
    """Load `flow.pt` and `hift.pt` of CosyVoice-300M.

    Args:
        cosyvoice_dir: the directory that holds them.
        cosyvoice_code: a checkout of FunAudioLLM/CosyVoice of January 2025 or later, with its submodule; None where
            the package is installed.
        device: `cpu` or `cuda`.
        seed: of the noise.

    Raises:
        RecipeError: a file is missing, damaged or of another model; or the package is missing, incomplete or too old.
    """
    flow_path, hift_path = Path(cosyvoice_dir) / FLOW, Path(cosyvoice_dir) / HIFT
    flow_weights, hift_weights = load_cosyvoice_weights(flow_path), load_cosyvoice_weights(hift_path)
    if cosyvoice_code:
        _use_checkout(Path(cosyvoice_code))
    try:
        with _logging_as_it_is():
            flow, hift = build_flow(), build_hift()
    except ImportError as error:
        raise RecipeError(
            f"the vocoder cosyvoice needs upstream's cosyvoice package ({error}): pip install -r "
            "requirements-cosyvoice-vocoder.txt, which says what else; a checkout of FunAudioLLM/CosyVoice in place of "
            "the package is named with --cosyvoice_code"
        ) from error
    if not any(WEIGHT_NORM in name for name in hift.state_dict()):
        raise RecipeError(
            f"{inspect.getfile(type(hift))} is of a cosyvoice package from before January 2025; take a newer one"
        )
    fit_weights(flow, flow_weights, flow_path)
    fit_weights(hift, {_hift_name(name): tensor for name, tensor in hift_weights.items()}, hift_path)
    return CosyvoiceVocoder(flow, hift, f"{sha256(flow_path)} {sha256(hift_path)}", device, seed)


def build_flow() -> nn.Module:
    """CosyVoice-300M's flow with random weights, 104.9 M parameters: units and voice to mel frames (arXiv 2407.05407).

    Raises:
        ImportError: the `cosyvoice` package, or one that it needs, is not installed.
    """
    from cosyvoice.flow.decoder import ConditionalDecoder
    from cosyvoice.flow.flow import MaskedDiffWithXvec
    from cosyvoice.flow.flow_matching import ConditionalCFM
    from cosyvoice.flow.length_regulator import InterpolateRegulator
    from cosyvoice.transformer.encoder import ConformerEncoder

    encoder = ConformerEncoder(
        input_size=512, output_size=512, attention_heads=8, linear_units=2048, num_blocks=6, input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet", selfattention_layer_type="rel_selfattn", normalize_before=True,
        use_cnn_module=False, macaron_style=False,
    )  # fmt: skip
    estimator = ConditionalDecoder(
        in_channels=4 * MELS, out_channels=MELS, channels=[256, 256], dropout=0.0, attention_head_dim=64, n_blocks=4,
        num_mid_blocks=12, num_heads=8, act_fn="gelu",
    )  # fmt: skip
    settings = SimpleNamespace(
        sigma_min=1e-6, solver="euler", t_scheduler="cosine", training_cfg_rate=0.2, inference_cfg_rate=0.7
    )
    decoder = ConditionalCFM(in_channels=3 * MELS, cfm_params=settings, n_spks=1, spk_emb_dim=MELS, estimator=estimator)
    return MaskedDiffWithXvec(
        input_size=512, output_size=MELS, spk_embed_dim=SPEAKER_DIM, output_type="mel", vocab_size=UNITS,
        input_frame_rate=RATE, only_mask_loss=True, encoder=encoder, decoder=decoder,
        length_regulator=InterpolateRegulator(channels=MELS, sampling_ratios=[1, 1, 1, 1]),
    )  # fmt: skip


def build_hift() -> nn.Module:
    """CosyVoice-300M's HiFT with random weights, 20.5 M parameters: 256 samples of each mel frame (arXiv 2309.09493).

    Raises:
        ImportError: the `cosyvoice` package, or one that it needs, is not installed.
    """
    from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
    from cosyvoice.hifigan.generator import HiFTGenerator

    return HiFTGenerator(
        in_channels=MELS, base_channels=512, nb_harmonics=8, sampling_rate=SAMPLE_RATE, nsf_alpha=0.1, nsf_sigma=0.003,
        nsf_voiced_threshold=10, upsample_rates=[8, 8], upsample_kernel_sizes=[16, 16],
        istft_params={"n_fft": 16, "hop_len": 4}, resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3, source_resblock_kernel_sizes=[7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 2, lrelu_slope=0.1, audio_limit=0.99,
        f0_predictor=ConvRNNF0Predictor(num_class=1, in_channels=MELS, cond_channels=512),
    )  # fmt: skip


def _hift_name(name: str) -> str:
    """The name that the package has for a weight of `hift.pt`.

    As upstream's `CosyVoiceModel.load`, it takes a prefix that upstream's training leaves; and names of weights that
    were saved with torch's former weight_norm, which torch renames itself when it loads them.
    """
    name = name.replace("generator.", "")
    return name.replace("weight_g", f"{WEIGHT_NORM}0").replace("weight_v", f"{WEIGHT_NORM}1")


def _use_checkout(code: Path) -> None:
    """Put a checkout and the submodule that it imports on Python's path, before what is installed.

    Raises:
        RecipeError: it is no checkout of CosyVoice, or its submodule is empty.
    """
    matcha = code / "third_party" / "Matcha-TTS"
    if not (code / "cosyvoice").is_dir():
        raise RecipeError(f"{code} is no checkout of FunAudioLLM/CosyVoice: it has no folder cosyvoice")
    if not (matcha / "matcha").is_dir():
        raise RecipeError(f"{matcha} is empty: run git submodule update --init --recursive in {code}")
    sys.path[:0] = [path for path in (str(code.resolve()), str(matcha.resolve())) if path not in sys.path]


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Undo that the package, when imported, makes the root logger print everything."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
