#!/usr/bin/env python3
"""Make the corpus of egs/mini again: synthetic speech of a fixed grammar with drawn prosody, in LibriSpeech's tree."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from corpus_maker.grammar import draw_sentences
from corpus_maker.prosody import Prosody, apply_prosody, draw_prosody
from corpus_maker.voices import Voice, speak

from taste.errors import RecipeError, run_main
from taste.files import write_text
from taste.progress import progress

VOICES = (
    Voice("11", "M", "flite", "rms"),
    Voice("12", "F", "flite", "slt"),
    Voice("13", "M", "flite", "kal16"),
    Voice("14", "M", "flite", "awb"),
    Voice("15", "M", "espeak-ng", "en-us+m1"),
    Voice("16", "F", "espeak-ng", "en-us+steph"),
)
UNSEEN_VOICES = (
    Voice("17", "F", "espeak-ng", "en-us+Annie"),
    Voice("18", "M", "espeak-ng", "en-us+m3"),
)
# Set: its voices, utterances of each voice. A speaker has one chapter a set, numbered in this order from 1.
SETS = {"train": (VOICES, 170), "dev": (VOICES, 14), "test": (VOICES, 25), "test_unseen": (UNSEEN_VOICES, 40)}
# Sentences passed over before those of the test sets: they were in test sets that have been looked at.
SPENT_SENTENCES = 230
BITRATE = 11  # kbit/s, the lowest at which opus keeps all of the 8 kHz band with some room


@dataclass(frozen=True)
class Utterance:
    """One utterance to be made; `seed` is what its prosody is drawn from."""

    utt: str
    folder: Path
    voice: Voice
    words: list[str]
    seed: list[int]


def plan(corpus: Path, seed: int) -> dict[str, list[Utterance]]:
    """The utterances of each set; no sentence occurs twice."""
    total = sum(len(voices) * count for voices, count in SETS.values())
    sentences = draw_sentences(np.random.default_rng(seed), total + SPENT_SENTENCES)
    sets, number = {}, 0
    for chapter, (name, (voices, count)) in enumerate(SETS.items(), start=1):
        sets[name] = []
        number += SPENT_SENTENCES if name == "test" else 0
        for voice in voices:
            for index in range(count):
                utt = f"{voice.speaker}-{chapter}-{index:04d}"
                folder = corpus / name / voice.speaker / str(chapter)
                sets[name].append(Utterance(utt, folder, voice, sentences[number], [seed, number]))
                number += 1
    return sets


def make(utterance: Utterance) -> tuple[Utterance, Prosody, list[tuple[float, float]], float]:
    """Speak an utterance and write its opus file; returns its prosody, word times and duration in seconds."""
    prosody = draw_prosody(np.random.default_rng(utterance.seed), len(utterance.words))
    speech = apply_prosody(speak(utterance.voice, utterance.words), prosody)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        soundfile.write(wav, speech.samples, speech.rate, subtype="PCM_16")
        options = ["--quiet", "--bitrate", str(BITRATE), "--framesize", "60", "--padding", "0"]
        options += ["--serial", str(utterance.seed[-1])]  # random otherwise, and the file another each time
        output = utterance.folder / f"{utterance.utt}.opus"
        try:
            subprocess.run(["opusenc", *options, str(wav), str(output)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RecipeError(f"opusenc failed ({error}); apt-get install opus-tools") from error
    return utterance, prosody, speech.words, len(speech.samples) / speech.rate


def make_corpus(corpus: Path, seed: int, jobs: int) -> None:
    """Write the corpus into `corpus`, a new directory.

    Raises:
        RecipeError: the directory exists, or a program is missing.
    """
    if corpus.exists():
        raise RecipeError(f"{corpus} exists; remove it, or give another --corpus")
    sets = plan(corpus, seed)
    every = [utterance for utterances in sets.values() for utterance in utterances]
    for utterance in every:
        utterance.folder.mkdir(parents=True, exist_ok=True)
    # One process an utterance: espeak-ng's samples depend on what its process has said before.
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        made = list(progress(pool.imap(make, every, chunksize=1), "utterances", len(every)))
    transcripts, times, prosodies = defaultdict(list), defaultdict(list), []
    seconds: dict[Voice, float] = defaultdict(float)
    for utterance, prosody, words, duration in made:
        spelled = [word.upper() for word in utterance.words]
        chapter = utterance.folder / utterance.utt.rpartition("-")[0]
        transcripts[f"{chapter}.trans.txt"].append(" ".join([utterance.utt, *spelled]))
        spans = (f"{word} {start:.3f} {end:.3f}" for word, (start, end) in zip(spelled, words, strict=True))
        times[f"{chapter}.words.txt"].append(" ".join([utterance.utt, *spans]))
        voice = f"{utterance.voice.engine} {utterance.voice.name}"
        prosodies.append(json.dumps({"utt": utterance.utt, "voice": voice, "seed": utterance.seed, **asdict(prosody)}))
        seconds[utterance.voice] += duration
    for path, lines in {**transcripts, **times, str(corpus / "prosody.jsonl"): prosodies}.items():
        write_text(path, "\n".join(lines) + "\n")
    write_text(corpus / "SPEAKERS.TXT", speakers_table(seconds))


def speakers_table(seconds: dict[Voice, float]) -> str:
    """LibriSpeech's SPEAKERS.TXT; a voice of several sets has them all in the column SUBSET."""
    lines = ["; The speech is synthetic; the name is that of the synthesizer's voice.",
             ";ID  |SEX| SUBSET           |MINUTES| NAME"]  # fmt: skip
    for voice, total in seconds.items():
        subset = " ".join(name for name, (voices, _) in SETS.items() if voice in voices)
        lines.append(f"{voice.speaker:4} | {voice.sex} | {subset:16} | {total / 60:5.2f} | {voice.engine} {voice.name}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="directory to make (%(default)s)")
    parser.add_argument("--seed", type=int, default=2504, help="what sentences and prosody are drawn from")
    parser.add_argument("--nj", type=int, default=2, help="processes at a time (%(default)s)")
    options = parser.parse_args()
    make_corpus(options.corpus, options.seed, options.nj)


if __name__ == "__main__":
    run_main(main)
