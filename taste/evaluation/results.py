"""The results of an experiment directory, `results.json`, and comparisons of two systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taste.checkpoint import load_system
from taste.config import load_config
from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.evaluation.bootstrap import bootstrap_of_sums
from taste.evaluation.free_running import compare_with_recording, make_aligner, speak, spoken_record, summary
from taste.evaluation.teacher_forced import Score, UnitCounts, evaluate, score_record, total
from taste.evaluation.unit_alignment import UnitAligner
from taste.files import read_json, read_json_lines, write_json, write_json_lines
from taste.model.joint import JointModel
from taste.model.sampling import Sampling
from taste.provenance import commit
from taste.tables import write_table
from taste.taste_tokens import TABLE, check_record, token_figures, tokenize, write_tokens
from taste.units.record import first_difference, require_same_units
from taste.whisper.layers import require_same_encoder

BASELINES = ("unigram", "copy previous unit")
FIGURES = "eval/figures.json"  # of a system
FREE_RUNNING_BATCH = 5  # times as many units as in training: nothing is kept for a backward pass


def evaluate_system(
    system_dir: Path, train_dir: Path, test_dirs: Sequence[Path], device: torch.device, sampling: Sampling, seed: int,
    from_tokens: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Score a system on test sets: teacher-forced, free-running, and its TASTE tokens where it has such.

    Writes, of each set, into `system_dir`: `eval/<set>.jsonl`, teacher-forced, one line an utterance;
    `spoken/<set>/utt2s3`, the units that it samples by itself, and `spoken/<set>/spoken.jsonl`, these beside the
    recording's; `tokens/<set>/utt2taste`; and of all together `eval/figures.json`.

    Args:
        train_dir: where words and their units are learnt from, to find words in sampled units.
        sampling: how units are sampled.
        seed: of the sampling, to be the same for all systems.
        from_tokens: let the system read the TASTE tokens in its `tokens/<set>` instead of speech.

    Returns:
        The contents of `figures.json`: `units`, `sampling` and the figures of each of the `sets`.

    Raises:
        RecipeError: the system is not trained, or units of the directories differ among each other or from those that
            it was trained on.
    """
    record = require_same_units([train_dir, *test_dirs])
    config, model = load_system(system_dir, device)
    require_trained_on(system_dir, record, () if from_tokens else test_dirs)
    aligner = make_aligner(train_dir, test_dirs, config.model.speech_token_size, record["rate"])
    sets = {}
    for test_dir in test_dirs:
        tokens = system_dir / "tokens" / test_dir.name
        if from_tokens:
            check_record(tokens, system_dir)
        test_set = UnitDataset(test_dir, config.model, tokens / TABLE if from_tokens else None)
        batch_units = config.train.batch_units
        sets[test_dir.name] = evaluate_on(model, system_dir, test_set, batch_units, device, sampling, seed, aligner)
    result = {"units": record, "sampling": {**asdict(sampling), "seed": seed}, "sets": sets}
    write_json(system_dir / FIGURES, result)
    return result


def evaluate_on(
    model: JointModel, system_dir: Path, test_set: UnitDataset, batch_units: int, device: torch.device,
    sampling: Sampling, seed: int, aligner: UnitAligner | None,
) -> dict:  # fmt: skip
    """Score one system on one set, write each utterance's figures, and return those of the set."""
    name = test_set.data_dir.name
    what = f"{system_dir.name} on {name}"
    scores = evaluate(model, test_set, batch_units, device, what=what)
    save_scores(scores_path(system_dir.parent, system_dir.name, name), scores)
    batch_units_spoken = FREE_RUNNING_BATCH * batch_units
    units = speak(model, test_set, sampling, seed, batch_units_spoken, device, what=f"{what}, free-running")
    spoken = compare_with_recording(units, test_set, aligner)
    folder = system_dir / "spoken" / name
    write_table(folder / "utt2s3", {utt: " ".join(map(str, each.units)) for utt, each in units.items()})
    write_json_lines(folder / "spoken.jsonl", (spoken_record(utt, spoken[utt]) for utt in sorted(spoken)))
    updates = read_json(system_dir / "train.json", "training")["updates_in_all"]
    figures = {**total(scores.values()).summary(), "updates": updates, "free_running": summary(spoken)}
    if model.speech is not None and model.speech.quantizer is not None:
        tokens = tokenize(model, test_set, batch_units, device)
        sizes = model.speech.quantizer.sizes
        write_tokens(system_dir / "tokens" / name, tokens, system_dir, sizes)
        figures["tokens"] = asdict(token_figures(tokens, sizes, test_set.data_dir / "utt2dur"))
    return figures


def collect_results(
    exp_dir: Path, systems: Sequence[str], train_dir: Path, test_dirs: Sequence[Path], command: str = "./run.sh",
    reference: str = "text_only_continued",
) -> dict[str, Any]:  # fmt: skip
    """Write `exp_dir/results.json`: figures of systems that have been scored, and of what needs no training.

    Args:
        train_dir: where the units of the unigram row are counted.
        command: what makes these results, to be quoted.
        reference: the system that the others are compared with.

    Returns:
        The contents of `results.json`.

    Raises:
        RecipeError: a system has not been scored on the sets, on the same units and by the same sampling as the others.
    """
    found = {name: read_json(exp_dir / name / FIGURES, "local/evaluate.py (stage 10)") for name in systems}
    names = [test_dir.name for test_dir in test_dirs]
    units, sampling = (found[systems[0]][key] for key in ("units", "sampling"))
    for system, each in found.items():
        if (each["units"], each["sampling"]) != (units, sampling) or set(names) - each["sets"].keys():
            raise RecipeError(
                f"{exp_dir / system} has been scored on other units or sets, or by other sampling, than "
                f"{systems[0]}; run stage 10 again"
            )
    by_system = {system: {name: each["sets"][name] for name in names} for system, each in found.items()}
    results = {
        "systems": {**baselines(exp_dir, systems[0], train_dir, test_dirs), **by_system},
        "units": units,
        "command": command,
        "commit": commit(),
        "sampling": sampling,
        "reference": reference,
    }
    write_json(exp_dir / "results.json", results)
    return results


def baselines(exp_dir: Path, system: str, train_dir: Path, test_dirs: Sequence[Path]) -> dict[str, Any]:
    """The figures of each of `BASELINES` on each set; writes their `eval/<set>.jsonl`.

    Args:
        system: whose number of units and kind of text tokens count; whether it reads speech does not.
    """
    config = replace(load_config([exp_dir / system / "config.yaml"]).model, aggregator="none")
    counts = UnitCounts(UnitDataset(train_dir, config), config.speech_token_size)
    figures: dict[str, Any] = {name: {} for name in BASELINES}
    for test_dir in test_dirs:
        test_set = UnitDataset(test_dir, config)
        for name, score in zip(BASELINES, (counts.unigram, counts.copy_previous), strict=True):
            scores = score(test_set)
            save_scores(scores_path(exp_dir, name, test_dir.name), scores)
            figures[name][test_dir.name] = total(scores.values()).summary()
    return figures


def require_trained_on(system_dir: Path, record: Mapping[str, object], test_dirs: Sequence[Path]) -> None:
    """Refuse to test a system on other units, or on features of other making, than those it was trained on.

    Raises:
        RecipeError: names the first property that differs.
    """
    training = read_json(system_dir / "train.json", "training")
    for test_dir in test_dirs if training["encoder"] else ():
        require_same_encoder(training["encoder"], system_dir, test_dir)
    trained = training["units"]
    if name := first_difference(trained, record):
        raise RecipeError(
            f"{system_dir} was trained on units whose {name} is {trained.get(name)!r}, but the test sets' is "
            f"{record.get(name)!r}; such results mean nothing. Train again, or run stage 5 with the former settings"
        )


def save_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write each utterance's sums as JSON lines, sorted by utterance."""
    write_json_lines(path, (score_record(utt, scores[utt]) for utt in sorted(scores)))


def scores_path(exp_dir: Path, system: str, test_set: str) -> Path:
    """Where the utterances' scores of a system on a test set lie."""
    folder = exp_dir / "baselines" / system.replace(" ", "_") if system in BASELINES else exp_dir / system
    return folder / "eval" / f"{test_set}.jsonl"


def load_scores(path: Path) -> dict[str, Score]:
    """Read what `save_scores` wrote."""
    return {record.pop("utt"): Score(**record) for record in read_json_lines(path, "stage 10")}


def compare(a: Mapping[str, Score], b: Mapping[str, Score], seed: int = 1) -> dict[str, float]:
    """Difference in loss per unit, a minus b, with its paired bootstrap interval over utterances.

    Returns:
        `difference` in nats per unit, the 95 % interval's ends `low` and `high`, and `utts`.

    Raises:
        RecipeError: the two were not scored on the same units of the same utterances.
    """
    if set(a) != set(b):
        raise RecipeError(f"scored on different utterances, e.g. {min(set(a) ^ set(b))}; run stage 10 for both")
    utts = sorted(a)
    if other := [utt for utt in utts if a[utt].units != b[utt].units]:
        raise RecipeError(f"scored on different units, e.g. of {other[0]}; run stage 10 for both")
    difference = np.array([a[utt].nll - b[utt].nll for utt in utts])
    positions = np.array([a[utt].units + a[utt].ends for utt in utts], dtype=float)

    return bootstrap_of_sums(np.stack((difference, positions), 1), lambda sums: sums[..., 0] / sums[..., 1], seed)
