"""Tables as the page shows them: figures with intervals, the best of a column marked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Args:
        better: "higher" or "lower" where one of the two is better.
        how: one sentence on how it is measured.
        missing: why the column is empty.
    """

    title: str
    unit: str = ""
    better: str | None = None
    how: str = ""
    missing: str | None = None


@dataclass(frozen=True)
class Cell:
    """A figure, as number and as text, with its 95 % interval as text."""

    text: str
    value: float | None = None
    interval: str = ""


EMPTY = Cell("–")


@dataclass
class Table:
    """A table whose rows have names.

    Args:
        caption: what the rows and figures are.
        columns: without the first, which holds the names.
        rows: a name and a cell for each column.
        references: rows that are no systems, so that none of their figures counts as the best.
        first: the title of the first column.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    references: Sequence[str] = ()
    first: str = "system"
    best: dict[int, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.best = {number: self._best(number) for number, _ in self.compared()}

    def compared(self) -> Iterator[tuple[int, Column]]:
        """The columns, with their numbers, of which one direction is better."""
        return ((number, column) for number, column in enumerate(self.columns) if column.better)

    def _best(self, number: int) -> list[str]:
        """The rows with a column's best figure as shown; none where there are no two to compare."""
        cells = {name: row[number] for name, row in self.rows if name not in self.references}
        values = {name: cell.value for name, cell in cells.items() if cell.value is not None}
        if len(values) < 2:
            return []
        choose = max if self.columns[number].better == "higher" else min
        text = cells[choose(values, key=values.__getitem__)].text
        return [name for name in values if cells[name].text == text]


def decimals(values: Sequence[float]) -> int:
    """How many decimals show the largest of the values with three or four digits, and no more than three."""
    largest = max((abs(value) for value in values), default=0)
    return 3 if largest < 1 else 2 if largest < 10 else 1 if largest < 1000 else 0


def figure_cell(figure: Mapping[str, Any], digits: int, key: str = "mean", sign: str = "") -> Cell:
    """A figure with its interval, where it has one.

    Args:
        figure: the figure under `key`, and the interval's ends `low` and `high`; None of a figure of the whole set, NaN
            of one utterance.
        digits: decimals.
        sign: "+" to show the sign of positive figures.
    """

    def shown(number: float) -> str:
        return f"{number:{sign}.{digits}f}".replace("-", "−")

    has_interval = figure["low"] is not None and math.isfinite(figure["low"])
    interval = f"{shown(figure['low'])} to {shown(figure['high'])}" if has_interval else ""
    return Cell(shown(figure[key]), figure[key], interval)
