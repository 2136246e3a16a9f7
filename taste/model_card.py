"""The model card of a trained system: `exp/<system>/README.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taste.checkpoint import BEST
from taste.config import Config, load_config
from taste.evaluation.tables import free_running_table, results_table, token_table, units_in_words
from taste.files import read_json, write_text

LIMITS = """- It was trained on the speech that `train` names, and sounds and tokenizes best on such. English only.
- Text without speech-like form (digits, abbreviations, punctuation) was not in training; numbers are to be written as
  words.
- Longer audio than 30 s is cut into pieces, and one speaker is assumed throughout.
- Times come from the attention of Whisper's decoder: steps of 20 ms, pauses counted to the word beside them.
- The waveform is as good as the vocoder. Speech can be made to sound as someone else said it: do not pass it off as
  theirs."""


def write_model_card(system_dir: Path) -> Path:
    """Write the model card, with the scores of `results.json` beside the system's folder, where there is one.

    Returns:
        Its path.

    Raises:
        RecipeError: the system is not trained.
    """
    config = load_config([system_dir / "config.yaml"])
    trained = read_json(system_dir / "train.json", "training (stages 7 to 9)")
    vocoder = read_json(system_dir / "vocoder.json", "stage 11")
    sections = [
        f"# {system_dir.name}",
        _what_it_is(config),
        "## Made of",
        _made_of(trained, vocoder),
        *_scores(system_dir),
        "## Use",
        _use(system_dir.name, config),
        "## Files",
        f"`{BEST}` (weights, {(system_dir / BEST).stat().st_size / 1e6:.0f} MB), `config.yaml`, `train.json`, "
        "`vocoder.json` and `vocoder/`, `sentencepiece.model` where there is one: these are the model, and can be "
        "moved together. All else tells how the training went.",
        "## Limits",
        LIMITS,
        "## Licence",
        "The code is under Apache-2.0. The weights are their maker's to license, within what the licence of the "
        "training speech allows; Whisper's are under MIT.",
    ]
    write_text(system_dir / "README.md", "\n\n".join(sections) + "\n")
    return system_dir / "README.md"


def _what_it_is(config: Config) -> str:
    model = config.model
    if model.aggregator == "none":
        return "A language model that predicts speech units from text and a speaker embedding, without speech tokens."
    kind = "embeddings (no quantizer)"
    if model.quantizer == "rvq":
        kind = f"TASTE tokens, {model.codebooks} integers below {model.codebook_size} each"
    elif model.quantizer == "fsq":
        kind = f"TASTE tokens, one integer each, of {' x '.join(map(str, model.fsq_levels))} levels"
    return (
        f"Text-aligned speech tokens (TASTE, arXiv 2504.07053): for each text token {kind}, and a language model that "
        f"predicts speech units from text, tokens and a speaker embedding. Aggregator {model.aggregator}, keys of "
        f"layer {model.key_layer} and values of {', '.join(model.value_layers)} of the speech encoder."
    )


def _made_of(trained: Mapping[str, Any], vocoder: Mapping[str, Any]) -> str:
    feats, tokens = trained["feats"], trained["tokens"]
    best = trained["best"]
    lines = [
        f"train: {trained['train']}, {trained['train_utts']} utterances; {trained['updates_in_all']} updates in all, "
        f"from {trained['init'] or 'random weights'}; best dev loss {best['dev_loss']:.4f} (epoch {best['epoch']})",
        f"units: {units_in_words(trained['units'])}",
        f"text tokens: {tokens['token_type']}, {tokens['vocab_size']} ids",
        f"speaker embeddings: {units_in_words(trained['spk_emb'])}",
        f"vocoder: {vocoder['name']}",
        f"commit {trained['commit']}; `{trained['command']}`; {trained['hardware']}",
    ]
    if feats:
        lines.insert(
            1, f"features: Whisper {feats['model']} ({feats['source']}), SHA-256 {feats['weights_sha256'][:12]}"
        )
    return "\n".join(f"- {line}" for line in lines)


def _scores(system_dir: Path) -> list[str]:
    """Tables of every test set; nothing where the system has not been evaluated."""
    path = system_dir.parent / "results.json"
    systems = read_json(path, "stage 10")["systems"] if path.exists() else {}
    if system_dir.name not in systems:
        return []
    sets = systems[system_dir.name]
    results = {"systems": {system_dir.name: sets}}
    sections = ["## Scores", "Loss in nats a unit; what each column is, the recipe's `RESULTS.md` says."]
    for name, figures in sets.items():
        sections += [f"### {name}", results_table(results, name), free_running_table(results, name)]
        if "tokens" in figures:
            sections.append(token_table(results, name))
    return sections


def _use(name: str, config: Config) -> str:
    commands = [f"python -m taste reconstruct speech.wav --model {name} --out spoken"]
    if config.model.quantizer != "none":
        commands.insert(0, f"python -m taste tokenize speech.wav --model {name}")
        commands.append(f"python -m taste edit one.wav other.wav --words yellow --model {name} --out edited.wav")
    return "In a checkout of the recipe, this folder being `{}`:\n\n```bash\n{}\n```".format(name, "\n".join(commands))
