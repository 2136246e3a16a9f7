"""`python -m taste`: anyone's audio as TASTE tokens, and back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taste.errors import RecipeError, UtteranceError, run_main

if TYPE_CHECKING:  # loading torch takes seconds, and --help does without
    from taste.speech_tokens import SpeechTokens
    from taste.tokenizer import TasteTokenizer

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = "corpus/test/11/3/11-3-0000.opus"
EXAMPLES = f"""
Examples, in egs/mini after ./run.sh:
  python -m taste tokenize {SAMPLE} --model exp/taste_rvq
  python -m taste tokenize {SAMPLE} --text "my brother counted many yellow letters yesterday" \\
    --model exp/taste_rvq --format kaldi --out my_tokens
  python -m taste reconstruct {SAMPLE} --model exp/taste_rvq --out spoken
  python -m taste edit {SAMPLE} corpus/test/11/3/11-3-0003.opus --words yellow \\
    --model exp/taste_rvq --out edited.wav
"""
TOKENIZE = """Write for each text token of recordings its TASTE token, its start and its end.

Formats: jsonl, a line a recording; kaldi, a folder with utt2taste (the integers of each token's codebooks one after the
other), taste.json, text, utt2token, utt2word_tokens and utt2words; npz, a folder with <recording>.npz."""
RECONSTRUCT = """Say recordings again: tokenize them, sample units from text, tokens and speaker, and make waveforms.

Files whose name ends in .jsonl are taken for the tokens of `python -m taste tokenize`."""
EDIT = """Say recording A with the tokens of some words as recording B has them.

The words have to be said in both. How they are said then is B's, all else is A's."""


def main() -> None:
    """Parse the command line and run the command it names."""
    options = _parser().parse_args()
    _check_paths(options)
    options.command(options)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "taste", description=__doc__.partition(": ")[2], epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", type=Path, required=True, metavar="EXP", help="a trained system, e.g. exp/taste_rvq")
    shared.add_argument(
        "--text", nargs="+", metavar="TEXT",
        help="what is said, one text for each recording, of at most 30 s; numbers as words. Without it, Whisper "
        "transcribes",
    )  # fmt: skip
    shared.add_argument(
        "--pretrained_dir", type=Path, default=ROOT / "pretrained",
        help="where the weights of Whisper and the speaker encoder are kept; fetched where they are missing "
        "(default: %(default)s)",
    )  # fmt: skip
    shared.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    audio = "wav, flac, ogg, opus or mp3, of any length, rate and number of channels"

    def add(name: str, command: object, description: str) -> argparse.ArgumentParser:
        summary = description.partition("\n")[0].rstrip(".")
        added = commands.add_parser(
            name, parents=[shared], help=summary[0].lower() + summary[1:], description=description, epilog=EXAMPLES,
            formatter_class=raw,
        )  # fmt: skip
        added.set_defaults(command=command)
        return added

    tokenize = add("tokenize", _tokenize, TOKENIZE)
    tokenize.add_argument("audio", nargs="+", type=Path, metavar="AUDIO", help=audio)
    tokenize.add_argument("--format", choices=("jsonl", "kaldi", "npz"), default="jsonl", help="(default: jsonl)")
    tokenize.add_argument(
        "--out", type=Path, help="file of jsonl, printed without it; folder of the other formats, which need one"
    )
    reconstruct = add("reconstruct", _reconstruct, RECONSTRUCT)
    reconstruct.add_argument("audio", nargs="+", type=Path, metavar="AUDIO", help=f"{audio}; or a .jsonl of tokens")
    reconstruct.add_argument("--out", type=Path, required=True, metavar="DIR", help="where <recording>.wav goes")
    edit = add("edit", _edit, EDIT)
    edit.add_argument("audio", nargs=2, type=Path, metavar=("A", "B"), help=audio)
    edit.add_argument("--words", nargs="+", required=True, help="words that are said in both")
    edit.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .wav file")
    for speaking in (reconstruct, edit):
        speaking.add_argument("--seed", type=int, default=1, help="of the sampling of units (default: 1)")
        speaking.add_argument(
            "--cosyvoice_code", type=Path, metavar="DIR",
            help="checkout of FunAudioLLM/CosyVoice, in place of its package, for systems that speak by its vocoder",
        )  # fmt: skip
    return parser


def _check_paths(options: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is loaded."""
    if options.text is not None and len(options.text) != len(options.audio):
        raise RecipeError(
            f"{len(options.text)} texts for {len(options.audio)} recordings; give one for each, in quotes, or none"
        )
    names = [path.stem for path in options.audio]
    if options.command is not _edit and (twice := {name for name in names if names.count(name) > 1}):
        raise RecipeError(f"two recordings are named {min(twice)}; rename one, as what is written bears that name")
    if getattr(options, "format", "jsonl") != "jsonl" and options.out is None:
        raise RecipeError(f"--format {options.format} writes several files: name a folder with --out")


def _tokenize(options: argparse.Namespace) -> None:
    tokenizer = _load(options)
    if not tokenizer.has_quantizer:
        raise RecipeError(
            f"{options.model} has no quantizer, so there are no tokens to write: take a system like taste_rvq; "
            "reconstruct does with this one, and TasteTokenizer.encode gives its embeddings"
        )
    from taste.token_formats import FORMATS

    tokens = _encode_all(tokenizer, options)
    if options.out is None:
        for each in tokens.made:
            print(json.dumps(each.record(), ensure_ascii=False))
    elif tokens.made:
        FORMATS[options.format](options.out, tokens.made, options.model, tokenizer.model.speech.quantizer.sizes)
    tokens.report()


def _reconstruct(options: argparse.Namespace) -> None:
    tokenizer = _load(options)
    tokenizer.vocoder  # noqa: B018 (a vocoder that is missing stops the work before it starts)
    tokens = _encode_all(tokenizer, options)
    for each in tokens.made:
        _write_wav(options.out / f"{each.utt}.wav", tokenizer, each, options.seed)
    tokens.report()


def _edit(options: argparse.Namespace) -> None:
    tokenizer = _load(options)
    tokenizer.vocoder  # noqa: B018
    texts = options.text or [None, None]
    own, donor = (tokenizer.encode(audio, text) for audio, text in zip(options.audio, texts, strict=True))
    _write_wav(options.out, tokenizer, own.with_words_of(donor, options.words), options.seed)


class _Encoded:
    """The recordings that could be tokenized, and why others could not."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.made: list[SpeechTokens] = []
        self.faults: list[UtteranceError] = []

    def report(self) -> None:
        """Fail if a recording could not be used."""
        if self.faults and self.total == 1:
            raise self.faults[0]
        if self.faults:
            faults = "\n".join(f"  - {fault}" for fault in self.faults)
            raise RecipeError(f"{len(self.faults)} of {self.total} recordings could not be used:\n{faults}")


def _encode_all(tokenizer: TasteTokenizer, options: argparse.Namespace) -> _Encoded:
    """Tokenize all recordings, and read those that are tokens already."""
    from taste.token_formats import read_jsonl

    encoded = _Encoded(len(options.audio))
    texts: Sequence[str | None] = options.text or [None] * len(options.audio)
    for audio, text in zip(options.audio, texts, strict=True):
        try:
            if options.command is _reconstruct and audio.suffix == ".jsonl":
                encoded.made += read_jsonl(audio)
            else:
                encoded.made.append(tokenizer.encode(audio, text))
        except UtteranceError as error:
            encoded.faults.append(UtteranceError(str(error) if str(audio) in str(error) else f"{audio}: {error}"))
    return encoded


def _load(options: argparse.Namespace) -> TasteTokenizer:
    from taste.tokenizer import TasteTokenizer

    code = getattr(options, "cosyvoice_code", None)  # of the commands that speak
    return TasteTokenizer.from_exp(options.model, options.pretrained_dir, options.device, code)


def _write_wav(path: Path, tokenizer: TasteTokenizer, tokens: SpeechTokens, seed: int) -> None:
    import soundfile

    from taste.files import atomic_path

    samples, rate = tokenizer.decode(tokens, seed)
    with atomic_path(path) as partial:
        soundfile.write(partial, samples, rate, "PCM_16", format="WAV")
    print(f"{path}: {len(samples) / rate:.2f} s of speech: {tokens.text}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main, failure=2)
