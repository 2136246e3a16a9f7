"""Two sorted tables of data directories side by side, read as streams of blocks."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import TypeAlias

from taste.data_dir.contents import keyed_lines
from taste.data_dir.validate import order_faults
from taste.errors import RecipeError

Pair: TypeAlias = "tuple[bytes, bytes | None, bytes | None]"  # an id, and its lines


@dataclass
class Block:
    """Lines of a sorted table that follow one another.

    Attributes:
        first: the number of the first line in the file, from 1.
        keys: the ids.
        lines: the lines, without newlines.
    """

    first: int
    keys: list[bytes]
    lines: list[bytes]

    def split(self, last: bytes) -> tuple[Block, Block]:
        """The lines up to the id `last`, and those after it."""
        if self.keys[-1] <= last:
            return self, Block(self.first + len(self.keys), [], [])
        cut = bisect_right(self.keys, last)
        return (
            Block(self.first, self.keys[:cut], self.lines[:cut]),
            Block(self.first + cut, self.keys[cut:], self.lines[cut:]),
        )


def sorted_blocks(path: Path) -> Iterator[Block]:
    """Read a table in blocks of about a megabyte.

    Raises:
        RecipeError: a line without an id, a repeated one, or one out of order; with file and line.
    """
    number, previous = 1, []
    for keys, lines in keyed_lines(path):
        if not all(map(operator.lt, previous + keys, islice(previous + keys, 1, None))):
            _, index, message = next(order_faults(previous + keys))
            raise RecipeError(f"{path}:{number + index - len(previous)}: {message}")
        yield Block(number, keys, lines)
        number += len(keys)
        previous = keys[-1:]


def aligned_blocks(a: Path, b: Path) -> Iterator[tuple[Block, Block]]:
    """Read two sorted tables in step: both blocks of a pair are the lines of the same range of ids.

    Raises:
        RecipeError: as `sorted_blocks`.
    """
    streams = sorted_blocks(a), sorted_blocks(b)
    nothing = Block(1, [], [])
    blocks = [next(stream, nothing) for stream in streams]
    while any(block.keys for block in blocks):
        last = min(block.keys[-1] for block in blocks if block.keys)
        heads, tails = zip(*(block.split(last) if block.keys else (nothing, nothing) for block in blocks), strict=True)
        yield heads
        blocks = [tail if tail.keys else next(stream, nothing) for tail, stream in zip(tails, streams, strict=True)]


class TableMerge:
    """The lines in which two sorted tables differ.

    Memory does not grow with the tables.

    Example::

        merge = TableMerge(a / "text", b / "text", unshared)
        for utt, line_a, line_b in merge:
            ...
        print(merge.lines)

    Args:
        a: a table.
        b: another.
        ignored: ids that are passed over.

    Attributes:
        lines: how many both tables have, as far as they have been read.
    """

    def __init__(self, a: Path, b: Path, ignored: Set[bytes]) -> None:
        self.a, self.b, self.ignored = a, b, ignored
        self.lines = [0, 0]
        self._blocks: tuple[Block, ...] = ()

    def __iter__(self) -> Iterator[Pair]:
        """Yield each id whose lines differ, sorted, with both lines; None for a table that has no such id.

        Raises:
            RecipeError: as `sorted_blocks`.
        """
        for block_a, block_b in aligned_blocks(self.a, self.b):
            self._blocks = (block_a, block_b)
            self.lines[0] += len(block_a.lines)
            self.lines[1] += len(block_b.lines)
            if block_a.lines == block_b.lines:
                continue
            differing = set(block_a.lines).symmetric_difference(block_b.lines)
            lines_a, lines_b = _chosen(block_a, differing), _chosen(block_b, differing)
            for key in sorted((lines_a.keys() | lines_b.keys()) - self.ignored):
                yield key, lines_a.get(key), lines_b.get(key)

    def line_numbers(self, key: bytes) -> list[int]:
        """Where the lines of an id that both tables have stand in the files, from 1; of the last id yielded."""
        return [block.first + block.keys.index(key) for block in self._blocks]


def _chosen(block: Block, wanted: set[bytes]) -> dict[bytes, bytes]:
    return dict(compress(zip(block.keys, block.lines, strict=True), map(wanted.__contains__, block.lines)))
