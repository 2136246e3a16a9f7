"""Prosody drawn at random, and its application to neutral speech by PSOLA (Praat, through parselmouth)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import parselmouth
from parselmouth.praat import call

from corpus_maker.voices import Speech
from taste.audio import SAMPLE_RATE

# Ranges of the factors; all but the pauses are uniform in their logarithm.
UTTERANCE_DURATION = (0.88, 1.1)  # of the whole; the words' own factors lengthen on average
UTTERANCE_PITCH = (0.85, 1.2)
WORD_DURATION = (0.75, 1.75)
WORD_PITCH = (0.82, 1.22)
EMPHASIS_PROBABILITY = 0.7
EMPHASIS_DURATION, EMPHASIS_PITCH, EMPHASIS_GAIN_DB = 1.25, 1.25, 4.0
PAUSE_PROBABILITY = 0.15  # at each boundary between words
PAUSE_SECONDS = (0.1, 0.4)
EDGE_SECONDS = (0.1, 0.25)  # silence before and after the sentence
GLIDE_SECONDS = 0.03  # over which a factor gives way to the next word's
FADE_SECONDS = 0.008
PEAK = 0.7
PITCH_FLOOR, PITCH_CEILING = 60.0, 450.0  # Hz


@dataclass(frozen=True)
class Prosody:
    """What was drawn for one utterance; all factors multiply the neutral speech's values."""

    duration: float
    pitch: float
    word_durations: list[float]  # emphasis included
    word_pitches: list[float]
    word_gains: list[float]  # dB
    pauses: list[float]  # s of silence after each word, the last one's included
    lead: float  # s of silence before the first word
    emphasis: int  # index of the emphasised word, -1: none


def draw_prosody(generator: np.random.Generator, words: int) -> Prosody:
    """Draw the prosody of an utterance of that many words; the words themselves have no say in it."""

    def factors(limits: tuple[float, float], count: int) -> np.ndarray:
        return np.exp(generator.uniform(np.log(limits[0]), np.log(limits[1]), count))

    durations, pitches, gains = factors(WORD_DURATION, words), factors(WORD_PITCH, words), np.zeros(words)
    emphasis = int(generator.integers(words)) if generator.random() < EMPHASIS_PROBABILITY else -1
    if emphasis >= 0:
        durations[emphasis] *= EMPHASIS_DURATION
        pitches[emphasis] *= EMPHASIS_PITCH
        gains[emphasis] = EMPHASIS_GAIN_DB
    pauses = generator.uniform(*PAUSE_SECONDS, words) * (generator.random(words) < PAUSE_PROBABILITY)
    lead, pauses[-1] = generator.uniform(*EDGE_SECONDS, 2)

    def rounded(values: np.ndarray) -> list[float]:
        return [round(float(value), 3) for value in values]

    return Prosody(
        duration=rounded(factors(UTTERANCE_DURATION, 1))[0],
        pitch=rounded(factors(UTTERANCE_PITCH, 1))[0],
        word_durations=rounded(durations),
        word_pitches=rounded(pitches),
        word_gains=rounded(gains),
        pauses=rounded(pauses),
        lead=round(float(lead), 3),
        emphasis=emphasis,
    )


def apply_prosody(speech: Speech, prosody: Prosody) -> Speech:
    """Speech of the same words with the drawn prosody, at 16 kHz, with its word times.

    Args:
        speech: neutral, without silence around it, its words adjoining one another.
    """
    sound = parselmouth.Sound(speech.samples, speech.rate).resample(SAMPLE_RATE)
    edges = np.array([start for start, _ in speech.words] + [speech.words[-1][1]])
    durations = prosody.duration * np.array(prosody.word_durations)
    knots, factors = _steps(edges, durations)
    manipulation = call(sound, "To Manipulation", 0.005, PITCH_FLOOR, PITCH_CEILING)
    duration_tier = call("Create DurationTier", "durations", 0, sound.duration)
    for time, factor in zip(knots, factors, strict=True):
        call(duration_tier, "Add point", time, factor)
    call([manipulation, duration_tier], "Replace duration tier")
    call([manipulation, _pitch_tier(sound, edges, prosody)], "Replace pitch tier")
    # Praat stretches what is unvoiced with random pieces; without a seed the samples differ from run to run.
    parselmouth.praat.run("random_initializeWithSeedUnsafelyButPredictably (1)")
    stretched = call(manipulation, "Get resynthesis (overlap-add)")
    new_edges = _integral(edges, knots, factors)
    return _with_pauses(stretched.values[0], new_edges, prosody)


def _steps(edges: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of a piecewise linear curve: one value a word, gliding over GLIDE_SECONDS at each boundary."""
    glide = np.minimum(GLIDE_SECONDS / 2, np.diff(edges) / 4)
    knots = np.stack([edges[:-1] + glide, edges[1:] - glide], axis=1).ravel()
    return knots, np.repeat(values, 2)


def _integral(times: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Integral from 0 to each of `times` of the curve through the knots, constant before and after them."""
    grid = np.unique(np.concatenate([[0.0], times, knots]))
    curve = np.interp(grid, knots, values)
    area = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (curve[1:] + curve[:-1]) / 2)])
    return np.interp(times, grid, area)


def _pitch_tier(sound: parselmouth.Sound, edges: np.ndarray, prosody: Prosody) -> parselmouth.Data:
    pitch = sound.to_pitch_ac(time_step=0.005, pitch_floor=PITCH_FLOOR, pitch_ceiling=PITCH_CEILING)
    knots, factors = _steps(edges, prosody.pitch * np.array(prosody.word_pitches))
    tier = call("Create PitchTier", "pitch", 0, sound.duration)
    for time, hertz in zip(pitch.xs(), pitch.selected_array["frequency"], strict=True):
        if hertz:
            call(tier, "Add point", time, hertz * np.interp(time, knots, factors))
    return tier


def _with_pauses(samples: np.ndarray, edges: np.ndarray, prosody: Prosody) -> Speech:
    """Cut at the word boundaries, apply the gains, and put the silences in."""
    cuts = np.clip(np.round(edges * SAMPLE_RATE).astype(int), 0, len(samples))
    gain_knots, gain_values = _steps(edges, np.array(prosody.word_gains))
    gains = 10 ** (np.interp(np.arange(len(samples)) / SAMPLE_RATE, gain_knots, gain_values) / 20)
    samples = samples * gains
    fade = np.linspace(0, 1, round(FADE_SECONDS * SAMPLE_RATE))
    pieces, times = [np.zeros(round(prosody.lead * SAMPLE_RATE))], []
    position = len(pieces[0])
    after_silence = True
    for start, end, pause in zip(cuts, cuts[1:], prosody.pauses, strict=False):
        piece = samples[start:end].copy()
        if after_silence:
            piece[: len(fade)] *= fade
        if pause:
            piece[-len(fade) :] *= fade[::-1]
        times.append((position / SAMPLE_RATE, (position + len(piece)) / SAMPLE_RATE))
        silence = np.zeros(round(pause * SAMPLE_RATE))
        pieces += [piece, silence]
        position += len(piece) + len(silence)
        after_silence = pause > 0
    joined = np.concatenate(pieces)
    return Speech(joined * (PEAK / np.abs(joined).max()), SAMPLE_RATE, times)
