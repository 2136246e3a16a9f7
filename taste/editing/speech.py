"""What an edit of TASTE tokens does to the speech: measured on a set, and some of it made audible (stage 11)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taste.audio import read_audio
from taste.checkpoint import load_system
from taste.corpus.prepare_audio import to_speech
from taste.dataset import UnitDataset
from taste.editing.edits import BEFORE, EDITED, EDITS, RANDOM, Edit, choose_edits, replace_tokens
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.evaluation.free_running import correlation, make_aligner, speak
from taste.evaluation.results import FREE_RUNNING_BATCH
from taste.evaluation.unit_alignment import UnitAligner, Word, read_words
from taste.files import write_json
from taste.model.sampling import Sampling
from taste.progress import progress
from taste.provenance import provenance
from taste.reconstruction import write_waveforms
from taste.scores.acoustics import F0_RATE, analyse
from taste.tables import read_int_table, read_table, write_table
from taste.taste_tokens import TABLE, check_record, read_tokens, write_tokens
from taste.unit2wav.vocoder import Vocoder

logger = logging.getLogger(__name__)
LEAST_VOICED = 5  # frames that a word must have for its pitch

Times = Mapping[str, np.ndarray]  # of each utterance: start and end of each word in seconds, (words, 2)
Figures = Mapping[str, np.ndarray]  # of each utterance: a figure of each word, (words,)


def edit_set(
    exp_dir: Path, system: str, train_dir: Path, data_dir: Path, vocoder: Vocoder, sampling: Sampling, seed: int,
    heard: int, device: torch.device,
) -> dict[str, Any] | None:  # fmt: skip
    """Edit the utterances of a set, let the system speak them, and measure the words.

    Writes into `exp_dir/edits/`: `edits.json`; and of `before`, `edited` and `random` the tokens, the units, and the
    waveforms of `heard` utterances in `<variant>/wav/`.

    Args:
        system: with a quantizer, evaluated by stage 10, which keeps its TASTE tokens.
        train_dir: has the word times that tell where words are in units.
        heard: how many utterances become waveforms; their pitch is measured.
        seed: of the choice of edits, the random tokens and the sampling, which is the same for all three.

    Returns:
        The contents of `edits.json`: `figures`, of `edited` and `random` the `duration` and the `pitch` as `summarize`
        gives them; and `examples`, the utterances that became waveforms. None, and no file, where no two utterances of
        a speaker share a word.

    Raises:
        RecipeError: the system has no TASTE tokens of the set, or word times are not known.
    """
    system_dir, edits_dir = exp_dir / system, exp_dir / "edits"
    check_record(system_dir / "tokens" / data_dir.name, system_dir)
    config, model = load_system(system_dir, device)
    rate = UnitDataset(data_dir, config.model).units_record["rate"]
    aligner = make_aligner(train_dir, [data_dir], config.model.speech_token_size, rate)
    if aligner is None:
        raise RecipeError(f"{train_dir} or {data_dir} has no utt2words; edits are measured where word times are known")
    shutil.rmtree(edits_dir, ignore_errors=True)
    edits = choose_edits(data_dir, seed)
    if not edits:
        logger.warning("no two utterances of a speaker in %s share a word, so there is nothing to edit", data_dir)
        return None
    tokens = read_tokens(system_dir / "tokens" / data_dir.name)
    variants = replace_tokens(edits, tokens, read_int_table(data_dir / "utt2word_tokens", "stage 4"), seed)
    chosen = sorted(np.random.default_rng(seed).permutation(sorted(edits))[:heard].tolist())
    words = read_words(data_dir / "utt2words")
    times = {}
    for variant, variant_tokens in variants.items():
        folder = edits_dir / variant
        write_tokens(folder, variant_tokens, system_dir, model.speech.quantizer.sizes)
        dataset = UnitDataset(data_dir, config.model, folder / TABLE)
        batch_units = FREE_RUNNING_BATCH * config.train.batch_units
        spoken = speak(model, dataset, sampling, seed, batch_units, device, what=f"{system}, {variant}")
        units = {utt: each.units for utt, each in spoken.items()}
        for name, utts in (("utt2s3", units), ("heard", chosen)):
            write_table(folder / name, {utt: " ".join(map(str, units[utt])) for utt in utts})
        write_waveforms(folder / "heard", data_dir, folder / "wav", vocoder)
        times[variant] = align(aligner, units, words)
    recorded = {utt: np.array([[start, end] for _, start, end in each]) for utt, each in words.items()}
    record = {
        "system": system,
        "set": data_dir.name,
        "seed": seed,
        "utts": len(edits),
        "heard": len(chosen),
        "figures": _measure(edits, times, recorded, chosen, edits_dir, data_dir),
        "examples": [_example(edits[utt], data_dir, edits_dir) for utt in chosen],
        **provenance(),
    }
    write_json(exp_dir / EDITS, record)
    return record


def align(
    aligner: UnitAligner, units: Mapping[str, Sequence[int]], words: Mapping[str, Sequence[Word]]
) -> dict[str, np.ndarray]:
    """Start and end in seconds of each word, (words, 2), in units; utterances that cannot be aligned are left out."""
    skipped = Skipped("words of edited utterances")
    found = {}
    for utt, ids in units.items():
        try:
            found[utt] = aligner.times(ids, [word for word, _, _ in words[utt]])
        except UtteranceError as error:
            skipped.add(utt, error)
    skipped.report(len(units), may_be_all=True)
    return found


def _measure(
    edits: Mapping[str, Edit], times: Mapping[str, Times], recorded: Times, heard: Sequence[str], edits_dir: Path,
    data_dir: Path,
) -> dict[str, Any]:  # fmt: skip
    """Durations and pitches of words before and after the edits, beside those of the recordings."""
    durations = {variant: durations_of(each) for variant, each in times.items()}
    pitches = {variant: pitch_of(edits_dir / variant / "wav/wav.scp", each, heard) for variant, each in times.items()}
    donors = {edits[utt].donor for utt in heard}
    own_durations = durations_of(recorded)
    own_pitches = pitch_of(data_dir / "wav.scp", recorded, sorted({*heard, *donors}))
    return {
        variant: {
            "duration": summarize(edits.values(), durations[BEFORE], durations[variant], own_durations),
            "pitch": summarize(edits.values(), pitches[BEFORE], pitches[variant], own_pitches),
        }
        for variant in (EDITED, RANDOM)
    }


def durations_of(times: Times) -> dict[str, np.ndarray]:
    """The duration of each word in seconds, (words,)."""
    return {utt: each[:, 1] - each[:, 0] for utt, each in times.items()}


def pitch_of(wav_scp: Path, times: Times, utts: Sequence[str]) -> dict[str, np.ndarray]:
    """The median F0 of each word in Hz, (words,); NaN where a word has hardly a voice."""
    sources = read_table(wav_scp, "stage 11")
    pitches = {}
    for utt in progress([utt for utt in utts if utt in times and utt in sources], f"pitch of {wav_scp}"):
        f0 = analyse(to_speech(*read_audio(sources[utt]))).f0
        frames = np.round(times[utt] * F0_RATE).astype(int)
        voices = [voice[np.isfinite(voice)] for voice in (f0[start:end] for start, end in frames)]
        pitches[utt] = np.array([np.median(voice) if len(voice) >= LEAST_VOICED else np.nan for voice in voices])
    return pitches


def summarize(
    edits: Iterable[Edit], before: Figures, after: Figures, recorded: Figures
) -> dict[str, float | int | None]:
    """How much a figure of words changes by edits.

    Args:
        before, after: the figure of each word of the speech that is made.
        recorded: of each word of the recordings.

    Returns:
        `edited_change` and `untouched_change`, the median of the factor by which edited words and the others of the
        same utterances change, upwards or downwards, minus one; `follows`, the correlation over edited words of the
        logarithms of that factor and of the donor's recorded figure divided by the utterance's own; and the numbers of
        words.
    """
    changes: list[float] = []
    untouched: list[float] = []
    wanted: list[float] = []
    for edit in edits:
        if not all(edit.utt in table for table in (before, after, recorded)) or edit.donor not in recorded:
            continue
        change = np.log(after[edit.utt] / before[edit.utt])
        numbers = [own for own, _ in edit.words]
        untouched += np.delete(change, numbers).tolist()
        changes += change[numbers].tolist()
        wanted += [float(np.log(recorded[edit.donor][its] / recorded[edit.utt][own])) for own, its in edit.words]
    edited = np.array([changes, wanted])
    known = np.isfinite(edited[0])
    followed = np.isfinite(edited).all(0)
    rest = np.array(untouched)[np.isfinite(untouched)]
    return {
        "edited_change": _median_factor(edited[0, known]),
        "untouched_change": _median_factor(rest),
        "follows": correlation(*edited[:, followed]),
        "edited_words": int(known.sum()),
        "untouched_words": len(rest),
    }


def _median_factor(logarithms: np.ndarray) -> float | None:
    return float(np.exp(np.median(np.abs(logarithms))) - 1) if len(logarithms) else None


def _example(edit: Edit, data_dir: Path, edits_dir: Path) -> dict[str, Any]:
    text = read_table(data_dir / "text", "stage 1")[edit.utt]
    wav = {variant: f"edits/{variant}/wav/{edit.utt}.wav" for variant in (BEFORE, EDITED, RANDOM)}
    original = read_table(data_dir / "wav.scp", "stage 1")[edit.utt]
    words = [text.split()[own] for own, _ in edit.words]
    return {**asdict(edit), "words": words, "text": text, "wav": {"original": original, **wav}}
