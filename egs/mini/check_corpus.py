#!/usr/bin/env python3
"""How well Whisper reads a corpus in LibriSpeech's tree: word error rates by set and by voice."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch

from taste.audio import read_speech
from taste.errors import RecipeError, run_main
from taste.progress import progress
from taste.scores.transcription import BATCH, Transcriber
from taste.scores.words import count_word_errors
from taste.tables import read_table

MAX_TOKENS = 48  # a sentence has about ten; what goes on longer is a hallucination


def utterances(corpus: Path, name: str, max_utts: int) -> list[tuple[str, Path, str]]:
    """(speaker, audio, transcript) of a set, in turn from each speaker; `max_utts` 0: all.

    Raises:
        RecipeError: the set has no transcripts.
    """
    speakers: dict[str, list[tuple[str, Path, str]]] = defaultdict(list)
    for path in sorted((corpus / name).glob("*/*/*.trans.txt")):
        for utt, text in read_table(path).items():
            speakers[path.parts[-3]].append((path.parts[-3], path.parent / f"{utt}.opus", text))
    if not speakers:
        raise RecipeError(f"{corpus / name} holds no transcripts (*/*/*.trans.txt)")
    longest = max(map(len, speakers.values()))
    turns = [own[turn] for turn in range(longest) for own in speakers.values() if turn < len(own)]
    return turns[: max_utts or None]


def batches(items: list[tuple[str, Path, str]]) -> Iterator[list[tuple[str, Path, str]]]:
    """Cut `items` into lists of BATCH."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def check(transcriber: Transcriber, corpus: Path, name: str, max_utts: int) -> dict[str, tuple[int, int]]:
    """Errors and words by speaker of one set, both texts normalized by Whisper's EnglishTextNormalizer."""
    counts: dict[str, tuple[int, int]] = {}
    chosen = utterances(corpus, name, max_utts)
    for batch in progress(list(batches(chosen)), name, unit="batch"):
        heard = transcriber.transcribe([read_speech(str(path)) for _, path, _ in batch])
        for (speaker, _, transcript), each in zip(batch, heard, strict=True):
            errors, words = counts.get(speaker, (0, 0))
            more_errors, more_words = count_word_errors(transcript, each.text)
            counts[speaker] = (errors + more_errors, words + more_words)
    return counts


def main() -> None:
    """Parse the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="%(default)s")
    parser.add_argument("--sets", default="train dev test test_unseen", help="'%(default)s'")
    parser.add_argument("--whisper", default="base", help="the Whisper model that reads (%(default)s)")
    parser.add_argument("--pretrained_dir", type=Path, default=Path("../../pretrained"), help="%(default)s")
    parser.add_argument("--max_utts", type=int, default=0, help="of each set, evenly over its voices; 0: all")
    options = parser.parse_args()
    transcriber = Transcriber(options.whisper, options.pretrained_dir, torch.device("cpu"), MAX_TOKENS)
    print(f"{'set':12} {'speaker':8} {'words':>6} {'errors':>6}   WER")
    for name in options.sets.split():
        counts = check(transcriber, options.corpus, name, options.max_utts)
        total = (sum(errors for errors, _ in counts.values()), sum(words for _, words in counts.values()))
        for speaker, (errors, words) in [*sorted(counts.items()), ("all", total)]:
            print(f"{name:12} {speaker:8} {words:6} {errors:6} {100 * errors / words:5.1f} %", flush=True)


if __name__ == "__main__":
    run_main(main)
