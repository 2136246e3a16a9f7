"""The tables of an experiment directory: `RESULTS.md` from `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from taste.editing.edits import EDITS
from taste.editing.table import edit_sections
from taste.evaluation.results import BASELINES, compare, load_scores, scores_path
from taste.figures import plot_losses, save_figure
from taste.files import read_json, write_text
from taste.markdown import markdown_table
from taste.scores.table import SCORES, score_sections

FREE_RUNNING = (
    "Free-running: units sampled from text and, with an aggregator, speech, with the same random numbers for all. Unit "
    "error rate: edits per unit of the recording. Word durations by forced alignment of the units, against the true "
    "ones, where word times are known; relative: divided by what the word takes in training on average."
)
TOKENS = (
    "TASTE tokens: bit/s by the sizes of the codebooks, and by the entropy of each codebook's frequencies in this set; "
    "of each codebook, the entries that occur and the perplexity."
)
FREE_COLUMNS = ("unit_error_rate", "length_ratio", "duration_correlation", "relative_duration_correlation")
COLUMNS = ("loss", "ppl", "top1", "top5", "top1_change", "acc")


def write_report(exp_dir: Path) -> Path:
    """Write `exp_dir/RESULTS.md` and its figure, with scores (stage 12) and edits (stage 11) where there are any.

    Returns:
        The path of RESULTS.md.
    """
    results = read_json(exp_dir / "results.json", "stage 10")
    systems = [name for name in results["systems"] if name not in BASELINES]
    save_figure(plot_losses({name: exp_dir / name for name in systems}), exp_dir / "figures" / "loss.png")
    sections = [
        "# Results",
        f"`{results['command']}` at commit {results['commit']}",
        f"Units: {units_in_words(results['units'])}.",
        "Teacher-forced, all utterances. Loss in nats and perplexity are per unit, the end of speech counted as one; "
        "top-1 and top-5 are of the units without it; top-1 at a change is of units that differ from the one before; "
        "acc is upstream's accuracy, top-1 with the ends of speech.",
    ]
    test_sets = list(next(iter(results["systems"].values())))
    for test_set in test_sets:
        sections += [f"## {test_set}", results_table(results, test_set)]
        sections += [FREE_RUNNING, free_running_table(results, test_set)]
        if any("tokens" in results["systems"][system][test_set] for system in systems):
            sections += [TOKENS, token_table(results, test_set)]
        if results["reference"] in systems:
            sections += [comparison_table(exp_dir, systems, results["reference"], test_set)]
    if (exp_dir / SCORES).exists():
        sections += score_sections(read_json(exp_dir / SCORES, "stage 12"))
    if (exp_dir / EDITS).exists():
        sections += edit_sections(read_json(exp_dir / EDITS, "stage 11"))
    sections += ["## Training", "![loss curves](figures/loss.png)", hyperparameter_table(exp_dir, systems)]
    write_text(exp_dir / "RESULTS.md", "\n\n".join(sections) + "\n")
    return exp_dir / "RESULTS.md"


def units_in_words(record: Mapping[str, object]) -> str:
    """A units record as `key value, key value`, hashes shortened."""
    known = {key: value for key, value in record.items() if value is not None}
    return ", ".join(f"{key} {value[:12] if 'sha256' in key else value}" for key, value in known.items())


def results_table(results: Mapping, test_set: str) -> str:
    """One row a system."""
    header = ["system", "loss", "ppl", "top-1", "top-5", "top-1 at a change", "acc", "updates", "units", "utts"]
    rows = []
    for system, sets in results["systems"].items():
        figures = sets[test_set]
        decimals = (f"{figures[name]:.2f}" if name == "ppl" else f"{figures[name]:.4f}" for name in COLUMNS)
        rows.append([system, *decimals, *(str(figures.get(name, "")) for name in ("updates", "units", "utts"))])
    return markdown_table(header, rows)


def free_running_table(results: Mapping, test_set: str) -> str:
    """One row a system: what it samples by itself."""
    header = [
        "system",
        "unit error rate",
        "length ratio",
        "word-duration correlation",
        "relative",
        "words",
        "at the limit",
    ]
    rows = []
    for system, sets in results["systems"].items():
        if (figures := sets[test_set].get("free_running")) is None:
            continue
        decimals = ["" if figures[name] is None else f"{figures[name]:.3f}" for name in FREE_COLUMNS]
        rows.append([system, *decimals, str(figures["words"]), f"{figures['at_limit']} of {figures['utts']}"])
    return markdown_table(header, rows)


def token_table(results: Mapping, test_set: str) -> str:
    """One row a system that has TASTE tokens: what they cost, and how the codebooks are used."""
    header = ["system", "tokens/s", "bit/s", "entropy (bit/s)", "codebooks used", "perplexity"]
    rows = []
    for system, sets in results["systems"].items():
        if (figures := sets[test_set].get("tokens")) is None:
            continue
        rates = [f"{figures[name]:.2f}" for name in ("tokens_per_second", "bits_per_second", "entropy_per_second")]
        used = ", ".join(f"{fraction:.0%}" for fraction in figures["used"])
        rows.append([system, *rates, used, ", ".join(f"{value:.1f}" for value in figures["perplexity"])])
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
    columns = [hyperparameters(exp_dir / system) for system in systems]
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    return markdown_table(["", *systems], rows)


def hyperparameters(system_dir: Path) -> dict[str, str]:
    """Sizes, training settings and costs of a system, in words."""
    config = yaml.safe_load((system_dir / "config.yaml").read_text(encoding="utf-8"))
    record = read_json(system_dir / "train.json", "training")
    return {
        "started from": Path(record["init"]).name if record["init"] else "random weights",
        "aggregator": config["aggregator"],
        "key and value layers": layers_in_words(config),
        "quantizer": quantizer_in_words(config),
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
    }


def layers_in_words(config: Mapping) -> str:
    """The layers that a system reads."""
    if config["aggregator"] == "none":
        return ""
    return f"{config['key_layer']}, {' '.join(config['value_layers'])}"


def quantizer_in_words(config: Mapping) -> str:
    """A system's quantizer and its sizes."""
    sizes = {
        "none": "",
        "rvq": f"{config['codebooks']} x {config['codebook_size']}",
        "fsq": " x ".join(map(str, config["fsq_levels"])),
    }
    return f"{config['quantizer']} {sizes[config['quantizer']]}".strip()
