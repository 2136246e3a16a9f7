"""The results of an experiment directory: `results.json`, `RESULTS.md`, and comparisons of two systems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.stats import bootstrap

from taste.checkpoint import load_system
from taste.dataset import UnitDataset
from taste.encoder_layers import require_same_encoder
from taste.errors import RecipeError
from taste.evaluation import Score, UnitCounts, evaluate, score_record, total
from taste.figures import plot_losses
from taste.files import atomic_path, read_json, require, write_json, write_text
from taste.provenance import commit
from taste.units.record import first_difference, require_same_units

BASELINES = ("unigram", "copy previous unit")
COLUMNS = ("loss", "ppl", "top1", "top5", "top1_change", "acc")
RESAMPLES = 10_000


def evaluate_systems(
    exp_dir: Path, systems: Sequence[str], train_dir: Path, test_dirs: Sequence[Path], device: torch.device
) -> dict:
    """Score systems on test sets, teacher-forced, and write `results.json` and each utterance's scores.

    Writes `exp_dir/<system>/eval/<set>.jsonl`, one line an utterance, and `exp_dir/results.json`.

    Returns:
        The contents of `results.json`.

    Raises:
        RecipeError: a system is not trained, or units of the directories differ among each other or from those that a
            system was trained on.
    """
    record = require_same_units([train_dir, *test_dirs])
    results: dict = {"systems": {}, "units": record, "commit": commit()}
    counts = None
    for system in systems:
        config, model = load_system(exp_dir / system, device)
        require_trained_on(exp_dir / system, record, test_dirs)
        batch_units = config.train.batch_units
        if counts is None:  # the rows beside the systems need no more than the units and their number
            counts = UnitCounts(UnitDataset(train_dir, config.model), config.model.speech_token_size)
        for test_dir in test_dirs:
            test_set = UnitDataset(test_dir, config.model)
            scores = evaluate(model, test_set, batch_units, device, what=f"{system} on {test_dir.name}")
            save_scores(exp_dir, system, test_dir.name, scores)
            results["systems"].setdefault(system, {})[test_dir.name] = total(scores.values()).summary()
            baselines = zip(BASELINES, (counts.unigram, counts.copy_previous), strict=True)
            for name, score in baselines if system == systems[0] else ():
                scores = score(test_set)
                save_scores(exp_dir, name, test_dir.name, scores)
                results["systems"].setdefault(name, {})[test_dir.name] = total(scores.values()).summary()
    write_json(exp_dir / "results.json", results)
    return results


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


def save_scores(exp_dir: Path, system: str, test_set: str, scores: Mapping[str, Score]) -> None:
    """Write each utterance's sums as JSON lines, sorted by utterance."""
    path = scores_path(exp_dir, system, test_set)
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as stream:
        for utt in sorted(scores):
            stream.write(json.dumps(score_record(utt, scores[utt])) + "\n")


def scores_path(exp_dir: Path, system: str, test_set: str) -> Path:
    """Where the utterances' scores of a system on a test set lie."""
    folder = exp_dir / "baselines" / system.replace(" ", "_") if system in BASELINES else exp_dir / system
    return folder / "eval" / f"{test_set}.jsonl"


def load_scores(path: Path) -> dict[str, Score]:
    """Read what `save_scores` wrote."""
    scores = {}
    for line in require(path, "stage 10").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        utt = record.pop("utt")
        scores[utt] = Score(**record)
    return scores


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

    def loss_difference(nll: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
        return nll.sum(axis=axis) / count.sum(axis=axis)

    interval = bootstrap(
        (difference, positions), loss_difference, paired=True, vectorized=True, n_resamples=RESAMPLES,
        method="percentile", rng=np.random.default_rng(seed), batch=1000,
    ).confidence_interval  # fmt: skip
    return {
        "difference": float(loss_difference(difference, positions)),
        "low": float(interval.low),
        "high": float(interval.high),
        "utts": len(utts),
    }


def write_report(exp_dir: Path, command: str, reference: str) -> Path:
    """Write `exp_dir/RESULTS.md` and its figure from `results.json` and the systems' `train.json`.

    Args:
        command: what makes these results, to be quoted.
        reference: the system that the others are compared with.

    Returns:
        The path of RESULTS.md.
    """
    results = read_json(exp_dir / "results.json", "stage 10")
    systems = [name for name in results["systems"] if name not in BASELINES]
    plot_losses({name: exp_dir / name for name in systems}, exp_dir / "figures" / "loss.png")
    sections = [
        "# Results",
        f"`{command}` at commit {results['commit']}",
        f"Units: {units_in_words(results['units'])}.",
        "Teacher-forced, all utterances. Loss in nats and perplexity are per unit, the end of speech counted as one; "
        "top-1 and top-5 are of the units without it; top-1 at a change is of units that differ from the one before; "
        "acc is upstream's accuracy, top-1 with the ends of speech.",
    ]
    test_sets = list(next(iter(results["systems"].values())))
    for test_set in test_sets:
        sections += [f"## {test_set}", results_table(results, test_set)]
        if reference in systems:
            sections += [comparison_table(exp_dir, systems, reference, test_set)]
    sections += ["## Training", "![loss curves](figures/loss.png)", hyperparameter_table(exp_dir, systems)]
    write_text(exp_dir / "RESULTS.md", "\n\n".join(sections) + "\n")
    return exp_dir / "RESULTS.md"


def units_in_words(record: Mapping[str, object]) -> str:
    """A units record as `key value, key value`, hashes shortened."""
    known = {key: value for key, value in record.items() if value is not None}
    return ", ".join(f"{key} {value[:12] if 'sha256' in key else value}" for key, value in known.items())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns padded to be read as plain text too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def results_table(results: Mapping, test_set: str) -> str:
    """One row a system."""
    header = ["system", "loss", "ppl", "top-1", "top-5", "top-1 at a change", "acc", "units", "utts"]
    rows = []
    for system, sets in results["systems"].items():
        figures = sets[test_set]
        decimals = (f"{figures[name]:.2f}" if name == "ppl" else f"{figures[name]:.4f}" for name in COLUMNS)
        rows.append([system, *decimals, str(figures["units"]), str(figures["utts"])])
    return markdown_table(header, rows)


def comparison_table(exp_dir: Path, systems: Sequence[str], reference: str, test_set: str) -> str:
    """Each system's loss minus that of the reference, with the interval of the difference."""
    rows = []
    scores = {name: load_scores(scores_path(exp_dir, name, test_set)) for name in systems}
    for system in systems:
        if system != reference:
            found = compare(scores[system], scores[reference])
            rows.append([system, f"{found['difference']:+.4f}", f"{found['low']:+.4f} to {found['high']:+.4f}"])
    return markdown_table(["system", f"loss minus {reference}", "95 % interval (paired bootstrap)"], rows)


def hyperparameter_table(exp_dir: Path, systems: Sequence[str]) -> str:
    """Sizes, training settings and costs of each system, one column a system."""
    columns = []
    for system in systems:
        config = yaml.safe_load((exp_dir / system / "config.yaml").read_text(encoding="utf-8"))
        record = read_json(exp_dir / system / "train.json", "training")
        columns.append({
            "started from": Path(record["init"]).name if record["init"] else "random weights",
            "aggregator": config["aggregator"],
            "heads": str(config["attention_heads"]),
            "hidden size": str(config["dim"]),
            "layers (text + LM)": f"{config['text_encoder_blocks']} + {config['llm_blocks']}",
            "feed-forward size": str(config["linear_units"]),
            "learning rates": ", ".join(f"{part} {rate:g}" for part, rate in config["learning_rates"].items()),
            "batch": f"{config['batches_per_update']} x {config['batch_units']} units",
            "epochs (best)": f"{record['epochs']} ({record['best']['epoch']})",
            "updates": str(record["updates"]),
            "optimizer": record["optimizer"],
            "dtype": record["dtype"],
            "parameters (trained)": f"{record['parameters']:,} ({record['trained_parameters']:,})",
            "training utterances": str(record["train_utts"]),
            "hardware": record["hardware"],
            "training time": f"{record['seconds']:.0f} s",
            "peak memory": f"{record['peak_memory_bytes'] / 2**30:.2f} GiB",
            "seed": str(config["seed"]),
        })  # fmt: skip
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    return markdown_table(["", *systems], rows)
