"""Tokenize anyone's audio with a trained system, and say tokens again.

Example::

    tokenizer = TasteTokenizer.from_exp("exp/taste_rvq")
    tokens = tokenizer.encode("speech.wav")
    print(tokens.text, tokens.codes)  # (text tokens, codebooks)
    samples, rate = tokenizer.decode(tokens)
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from whisper.model import Whisper

from taste.archives import as_stored
from taste.audio import MAX_SECONDS, SAMPLE_RATE, read_audio
from taste.checkpoint import BEST, load_system
from taste.config import Config
from taste.corpus.prepare_audio import as_stage_2_leaves
from taste.errors import RecipeError, UtteranceError
from taste.files import read_json, sha256
from taste.model.batch import make_batch
from taste.model.decoding import Limits
from taste.model.joint import JointModel
from taste.model.sampling import Sampling
from taste.model_folder import load_packed_vocoder, load_recorded_speaker_encoder, load_recorded_tokenizer
from taste.precision import check_device
from taste.progress import progress
from taste.reconstruction import BATCH
from taste.speaker.encoders import SpeakerEncoder
from taste.speech_tokens import SpeechTokens
from taste.taste_tokens import has_quantizer, speech_of
from taste.text.alignment import align
from taste.text.tokens import TextTokenizer
from taste.unit2wav.vocoder import Vocoder
from taste.whisper.features import check_length, encode
from taste.whisper.layers import layers_of
from taste.whisper.transcription import Passage, cut_into_pieces, spoken_form, transcribe
from taste.whisper.weights import load_same_whisper

logger = logging.getLogger(__name__)
PRETRAINED_DIR = Path(__file__).resolve().parent.parent / "pretrained"  # where the recipe keeps public weights
LEAST_PROBABILITY = 0.2


class TasteTokenizer:
    """A trained system with all that it takes to get from audio to its tokens and back."""

    def __init__(
        self, system_dir: Path, config: Config, model: JointModel, trained: dict[str, Any], whisper: Whisper,
        text_tokenizer: TextTokenizer, speaker_encoder: SpeakerEncoder, pretrained_dir: Path,
        cosyvoice_code: Path | None, device: torch.device,
    ) -> None:  # fmt: skip
        """Put the parts together; `from_exp` loads them.

        Args:
            trained: the contents of `train.json`.
            whisper: that gives the features, transcripts and times.
        """
        self.system_dir, self.config, self.model, self.trained = system_dir, config, model, trained
        self.whisper, self.text_tokenizer, self.speaker_encoder = whisper, text_tokenizer, speaker_encoder
        self.pretrained_dir, self.cosyvoice_code, self.device = pretrained_dir, cosyvoice_code, device
        self.model_sha256 = sha256(system_dir / BEST)
        self._vocoder: Vocoder | None = None

    @classmethod
    def from_exp(
        cls, system_dir: str | Path, pretrained_dir: str | Path = PRETRAINED_DIR, device: str = "cpu",
        cosyvoice_code: str | Path | None = None,
    ) -> TasteTokenizer:  # fmt: skip
        """Load the system of a folder, e.g. `exp/taste_rvq`, or of a copy of it; data directories are not needed.

        Args:
            system_dir: as training left it; `decode` needs the vocoder too, which stage 11 adds.
            pretrained_dir: where the public weights are that it was trained with (Whisper's, the speaker encoder's).
                Those that are missing are fetched as stage 3 fetches them, and all are checked.
            device: `cpu`, `cuda` or `cuda:N`.
            cosyvoice_code: a checkout of FunAudioLLM/CosyVoice, whose code makes the waveforms of a system that was
                packed with its vocoder, in place of the package.

        Raises:
            RecipeError: the folder holds no trained system, one whose `z` is not aligned with its text, or the public
                weights are not to be had or others.
        """
        system_dir, pretrained_dir, torch_device = Path(system_dir), Path(pretrained_dir), check_device(device)
        config, model = load_system(system_dir, torch_device)
        trained = read_json(system_dir / "train.json", "the end of training (stages 7 to 9)")
        _check_kind(system_dir, config, trained)
        feats = trained["feats"]
        whisper = load_same_whisper(
            feats["model"], pretrained_dir, feats["weights_sha256"], feats["source"],
            str(system_dir),
        )  # fmt: skip
        return cls(
            system_dir, config, model, trained, whisper.to(torch_device),
            load_recorded_tokenizer(trained["tokens"], system_dir),
            load_recorded_speaker_encoder(trained["spk_emb"], pretrained_dir, system_dir),
            pretrained_dir, Path(cosyvoice_code) if cosyvoice_code else None, torch_device,
        )  # fmt: skip

    @property
    def has_quantizer(self) -> bool:
        """Whether the system makes TASTE tokens; without, `encode` gives embeddings."""
        return has_quantizer(self.model)

    def encode(
        self, audio: str | Path | tuple[np.ndarray, int], text: str | None = None, utt: str | None = None
    ) -> SpeechTokens:
        """Tokenize a recording.

        Audio of up to 30 s is tokenized as one utterance, exactly as by stages 2 to 10; longer audio in pieces, which
        end where sentences do as Whisper hears them.

        Times are those of `taste.text.alignment.align`, with its limits. A given text is refused where its probability
        is below 0.2, on the geometric mean over its tokens. On 20 utterances of LibriSpeech, Whisper base gave their
        own texts 0.34 to 0.88, texts of other utterances up to 0.13, and texts that begin right and end as another
        utterance's 0.002 to 0.22.

        Args:
            audio: a file that soundfile reads (wav, flac, ogg, opus, mp3, of any rate and number of channels), or
                samples, (samples,) or (samples, channels), float32 in [-1, 1], and their rate in Hz.
            text: what is said, in English, at most 30 s of it; numbers as words; capitals and punctuation are taken
                off. Without it, Whisper transcribes the audio.
            utt: name of the recording; without it, that of the file.

        Raises:
            UtteranceError: the audio cannot be read, is shorter than 20 ms or holds no speech; the text is empty, is
                not what is said, or given with more than 30 s.
        """
        if isinstance(audio, tuple):
            samples = as_stage_2_leaves(np.asarray(audio[0], dtype=np.float32), audio[1])
        else:
            samples = as_stage_2_leaves(*read_audio(str(audio)))
        source = "the audio" if isinstance(audio, tuple) else str(audio)
        utt = utt or ("audio" if isinstance(audio, tuple) else Path(audio).stem)
        pieces = self._pieces(samples, text, source)
        made = [
            self._encode_piece(samples[round(piece.start * SAMPLE_RATE) : round(piece.end * SAMPLE_RATE)], piece, utt)
            for piece in (progress(pieces, f"pieces of {source}") if len(pieces) > 1 else pieces)
        ]
        tokens = made[0] if len(made) == 1 else _joined(made)
        if text is not None and tokens.probability < LEAST_PROBABILITY:
            raise UtteranceError(
                f"{source}: the text seems not to be what is said: Whisper gives its tokens a probability of "
                f"{tokens.probability:.3f}, and that of a text that fits is above {LEAST_PROBABILITY}; correct it, or "
                "leave it out, and Whisper transcribes the audio"
            )
        return tokens

    def decode(self, tokens: SpeechTokens, seed: int = 1) -> tuple[np.ndarray, int]:
        """Say tokens again: the system samples units from text, tokens and speaker, and its vocoder makes them sound.

        Args:
            tokens: of this system; edited ones, too.
            seed: with `tokens.utt` it decides the random numbers of sampling.

        Returns:
            (samples,) float32 in [-1, 1], and their rate in Hz.

        Raises:
            RecipeError: the tokens are another system's, or the folder has no vocoder that fits.
        """
        units = self.units(tokens, seed)
        speakers = torch.from_numpy(tokens.spk_emb).expand(len(units), -1)
        vocoder = self.vocoder
        waveforms: list[Tensor] = []
        for start in range(0, len(units), BATCH):
            waveforms += vocoder(units[start : start + BATCH], speakers[start : start + BATCH])
        return torch.cat(waveforms).numpy(), vocoder.sample_rate

    @property
    def vocoder(self) -> Vocoder:
        """The vocoder in the folder, loaded when it is first asked for.

        Raises:
            RecipeError: as `taste.model_folder.load_packed_vocoder`.
        """
        if self._vocoder is None:
            self._vocoder = load_packed_vocoder(self.system_dir, self.pretrained_dir, self.device, self.cosyvoice_code)
        return self._vocoder

    def units(self, tokens: SpeechTokens, seed: int = 1) -> list[Tensor]:
        """The units that the system samples for tokens, those of each piece (units,); as stage 10 samples them.

        Raises:
            RecipeError: the tokens are another system's.
        """
        if tokens.model_sha256 != self.model_sha256:
            raise RecipeError(
                f"{tokens.utt} was tokenized by another system than {self.system_dir} (its weights have another "
                "SHA-256); take that one, or tokenize the audio again"
            )
        limits = Limits.for_rate(self.trained["units"]["rate"])
        rows = _rows(tokens)
        units: list[Tensor] = []
        for start in range(0, len(rows), BATCH):
            batch = make_batch(rows[start : start + BATCH]).to(self.device)
            decoded = self.model.decode(batch, Sampling("top_p"), limits, seed)
            units += [row[:n].cpu() for row, n in zip(decoded.unit, decoded.unit_length.tolist(), strict=True)]
        return units

    def _pieces(self, samples: np.ndarray, text: str | None, source: str) -> list[Passage]:
        """What is tokenized as one utterance each, with its text."""
        duration = len(samples) / SAMPLE_RATE
        is_long = duration > MAX_SECONDS
        if not is_long:
            check_length(samples)
        if text is not None:
            if not (spoken := spoken_form(text)):
                raise UtteranceError("the text is empty; leave it out, and Whisper transcribes the audio")
            if is_long:
                raise UtteranceError(
                    f"{source} lasts {duration:.1f} s, too long for a given text: cut both into pieces of at most "
                    f"{MAX_SECONDS:.0f} s, or leave the text out, and Whisper transcribes the audio"
                )
            return [Passage(0.0, duration, spoken)]
        if is_long:
            logger.info(
                "transcribing the %.0f s of %s with Whisper %s", duration, source, self.trained["feats"]["model"]
            )
        passages = transcribe(self.whisper, samples)
        if not passages:
            raise UtteranceError(f"no speech was found in {source}; where there is some, give its --text")
        if is_long:
            return cut_into_pieces(passages, duration)
        return [Passage(0.0, duration, " ".join(passage.text for passage in passages))]

    def _encode_piece(self, samples: np.ndarray, piece: Passage, utt: str) -> SpeechTokens:
        """Tokenize at most 30 s as one utterance; times run on from the piece's start."""
        words = piece.text.split()
        by_word = self.text_tokenizer.encode_words(piece.text)
        ids = [token for word in by_word for token in word]
        lengths = [len(word) for word in by_word]
        alignment = align(self.whisper, samples, words)
        spk_emb = self.speaker_encoder.embed(samples)
        row: dict[str, Any] = {
            "utt": utt,
            "token": torch.tensor(ids),
            "unit": torch.zeros(0, dtype=torch.long),
            "spk_emb": torch.from_numpy(spk_emb),
            "word": torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)),
            **self._features(samples),
        }
        codes = embeddings = None
        if self.model.speech is not None:
            with torch.inference_mode():
                speech = speech_of(self.model, make_batch([row], layers_of(self.config.model)).to(self.device))
            codes = speech.code[0].cpu().numpy() if self.has_quantizer else None
            embeddings = None if self.has_quantizer else speech.z[0].cpu().numpy()
        return SpeechTokens(
            utt, self.model_sha256, piece.text, words, lengths, piece.start + alignment.word_times(), np.array(ids),
            [self.text_tokenizer.decode([token]) for token in ids], piece.start + alignment.token_times(lengths), codes,
            embeddings, spk_emb, [len(ids)], alignment.probability,
        )  # fmt: skip

    def _features(self, samples: np.ndarray) -> dict[str, Tensor]:
        """The layers that the system reads, with the values that stage 4's archives would give."""
        layers = layers_of(self.config.model)
        if not layers:
            return {}
        feats = self.trained["feats"]
        dtype = getattr(torch, feats["dtype"])
        (found,) = encode(self.whisper, [samples], layers, feats["pad_to_30s"], dtype)
        return {layer: torch.tensor(as_stored(found[layer], feats["storage"])) for layer in layers}


def _check_kind(system_dir: Path, config: Config, trained: dict[str, Any]) -> None:
    """Refuse systems that do not say something of each text token from the audio alone, and folders of older make."""
    if not trained.get("feats") or "spk_emb" not in trained:
        raise RecipeError(
            f"{system_dir / 'train.json'} does not say what made features and speaker embeddings; train the system "
            "again, on data directories that stages 4 and 6 have worked on"
        )
    if config.model.aggregator == "speech_query":
        raise RecipeError(f"{system_dir}: z of the aggregator speech_query is not aligned with the text")
    if config.model.aggregator != "none" and config.model.speech_of == "another":
        raise RecipeError(f"{system_dir} is a control that reads the speech of another utterance of the same voice")


def _rows(tokens: SpeechTokens) -> list[dict[str, Any]]:
    """The pieces of a recording as `make_batch` takes them."""
    rows, start = [], 0
    for number, length in enumerate(tokens.pieces):
        part = slice(start, start + length)
        row: dict[str, Any] = {
            "utt": tokens.utt if len(tokens.pieces) == 1 else f"{tokens.utt}-{number}",
            "token": torch.from_numpy(tokens.ids[part]),
            "unit": torch.zeros(0, dtype=torch.long),
            "spk_emb": torch.from_numpy(tokens.spk_emb),
        }
        if tokens.codes is not None:
            row["code"] = torch.from_numpy(tokens.codes[part])
        if tokens.embeddings is not None:
            row["z"] = torch.from_numpy(tokens.embeddings[part])
        rows.append(row)
        start += length
    return rows


def _joined(pieces: list[SpeechTokens]) -> SpeechTokens:
    """The pieces of a long recording as one."""

    def joined(name: str) -> Any:
        values = [getattr(piece, name) for piece in pieces]
        if values[0] is None:
            return None
        return np.concatenate(values) if isinstance(values[0], np.ndarray) else [x for value in values for x in value]

    first = pieces[0]
    return SpeechTokens(
        first.utt, first.model_sha256, " ".join(piece.text for piece in pieces), joined("words"), joined("word_tokens"),
        joined("word_times"), joined("ids"), joined("strings"), joined("times"), joined("codes"), joined("embeddings"),
        np.mean([piece.spk_emb for piece in pieces], axis=0), joined("pieces"), min(p.probability for p in pieces),
    )  # fmt: skip
