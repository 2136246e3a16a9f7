"""The scores in RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taste.markdown import markdown_table
from taste.scores.definitions import DEFINITIONS

SCORES = "scores.json"
ORIGINAL = "original"


def score_sections(scores: Mapping[str, Any]) -> list[str]:
    """The sections of RESULTS.md: a table a set, and what each score is."""
    settings = scores["settings"]
    chosen = f"{settings['utts']} utterances a set, evenly over speakers" if settings["utts"] else "all utterances"
    sections = [
        "## Scores of waveforms",
        f"`{scores['command']}` at commit {scores['commit']}; {chosen}, seed {settings['seed']}. Behind each figure "
        "the 95 % interval (bootstrap over utterances); in brackets the utterances it is from, where not all.",
    ]
    for test_set in scores["sets"]:
        sections += [f"### {test_set}, by ear", score_table(scores, test_set)]
    explained = [f"- {each['title']}: {each['how']}" for each in scores["scores"].values()]
    empty = [f"- {each['title']} is empty: {each['missing']}" for each in scores["scores"].values() if each["missing"]]
    return [*sections, "\n".join(explained + empty)]


def score_table(scores: Mapping[str, Any], test_set: str) -> str:
    """One row a score, one column an original, topline or system: there are more scores than fit beside each other."""
    rows = scores["sets"][test_set]
    utts = {row: max((each["utts"] for each in found.values() if each), default=0) for row, found in rows.items()}
    lines = []
    for name, each in scores["scores"].items():
        title = " ".join(filter(None, [each["title"], f"({each['unit']})" if each["unit"] else ""]))
        arrow = {"higher": "↑", "lower": "↓", None: ""}[each["better"]]
        cells = [in_words(found[name], DEFINITIONS[name].decimals, utts[row]) for row, found in rows.items()]
        lines.append([f"{title} {arrow}".strip(), *cells])
    return markdown_table(["", *rows], lines)


def in_words(figure: Mapping[str, Any] | None, decimals: int, utts: int) -> str:
    """A figure with its interval, and the number of utterances where it is not `utts`."""
    if figure is None:
        return ""
    text = f"{figure['mean']:.{decimals}f}"
    if figure["low"] is not None:
        text += f", {figure['low']:.{decimals}f} to {figure['high']:.{decimals}f}"
    return text + (f" ({figure['utts']})" if figure["utts"] != utts else "")
