"""The figures of `edits.json` as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taste.editing.edits import EDITED, RANDOM
from taste.markdown import markdown_table

VARIANTS = {EDITED: "the donor's tokens", RANDOM: "random tokens"}
COLUMNS = {
    "edited words change by": "Median over the words whose tokens were replaced: the factor by which their duration or "
    "median F0 differs from that before the edit, upwards or downwards, minus one.",
    "other words change by": "The same of the other words of these utterances, whose tokens are as before.",
    "follows the donor": "Correlation, over the replaced words, of the logarithms of that factor and of the donor's "
    "recorded value divided by the utterance's own.",
    "edited words": "How many have the figure.",
    "other words": "How many have the figure.",
}


def edit_rows(edits: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A name and a text for each of `COLUMNS`: duration and pitch, with the donor's tokens and with random ones."""
    return [
        (
            f"{what}, {VARIANTS[variant]}",
            [
                _text(figures["edited_change"], ".0%"),
                _text(figures["untouched_change"], ".0%"),
                _text(figures["follows"], ".2f"),
                f"{figures['edited_words']:,}",
                f"{figures['untouched_words']:,}",
            ],
        )
        for what in ("duration", "pitch")
        for variant in VARIANTS
        for figures in [edits["figures"][variant][what]]
    ]


def edits_in_words(edits: Mapping[str, Any]) -> str:
    """What was edited."""
    return f"{edits['system']} on {edits['set']}, {edits['utts']} utterances, {edits['heard']} of them with pitch"


def edit_sections(edits: Mapping[str, Any]) -> list[str]:
    """The sections of RESULTS.md: the table, and what each column is."""
    return [
        "## Edits",
        f"TASTE tokens of words replaced by those that the same words have in another utterance of the speaker: "
        f"{edits_in_words(edits)}; same sampling seed {edits['seed']}.",
        markdown_table(["what changes", *COLUMNS], [[name, *cells] for name, cells in edit_rows(edits)]),
        "\n".join(f"- {title}: {how}" for title, how in COLUMNS.items()),
    ]


def _text(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
