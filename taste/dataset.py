"""Utterances of a data directory as batches: units, text tokens, speaker embeddings, encoder layers.

Everything is read when a batch is made, so memory does not grow with the corpus: what is held of an utterance is a few
numbers.
"""

from __future__ import annotations

import copy
import heapq
import logging
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, starmap
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taste.archives import read_array
from taste.config import ModelConfig, codebooks_of, most_tokens
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import read_json
from taste.model.batch import Batch, make_batch
from taste.parallel import ahead_of_use
from taste.progress import progress
from taste.shuffled_speech import other_utterances
from taste.tables import SortedTable
from taste.whisper.layers import encoder_record, layers_of, scp_name

logger = logging.getLogger(__name__)
FOUND = "found.scp"  # what an attention has found in the layers, see `UnitDataset.with_found`


class UnitDataset:
    """The utterances of a data directory that have everything a system needs.

    An item is a batch: it is asked for by a list of indices.
    """

    def __init__(self, data_dir: str | Path, config: ModelConfig, utt2taste: Path | None = None) -> None:
        """Open the directory's tables and check them against the model's sizes.

        Utterances that are missing from a table, or whose units lie outside the vocabulary, are named and left out.

        Args:
            data_dir: after stages 4 to 6.
            config: of the system that is to read it.
            utt2taste: a file of TASTE tokens, which then take the place of the speech encoder's layers.

        Raises:
            RecipeError: a file is missing, a size does not fit the model, or no utterance is left.
        """
        self.data_dir = Path(data_dir)
        self.units_record = read_json(self.data_dir / "units.json", "stage 5")
        self.tables = {
            "utt2s3": SortedTable(self.data_dir / "utt2s3", "stage 5"),
            "utt2token": SortedTable(self.data_dir / "utt2token", "stage 4"),
            "spk_emb.scp": SortedTable(self.data_dir / "spk_emb.scp", "stage 6"),
        }
        self.codebooks = codebooks_of(config) if utt2taste else 0
        if utt2taste:
            self.tables["utt2taste"] = SortedTable(utt2taste, "local/write_tokens.py")
        self.layers = [] if utt2taste else layers_of(config)
        self.encoder_record = encoder_record(self.data_dir) if self.layers else None
        feats = self.data_dir / "feats.json"
        self.feats_record = read_json(feats, "stage 4") if feats.exists() else None
        self.spk_emb_record = read_json(self.data_dir / "spk_emb.json", "stage 6")
        self._check_sizes(config)
        for layer in self.layers:
            self.tables[scp_name(layer)] = SortedTable(self.data_dir / scp_name(layer), "stage 4")
        self.most_tokens = most_tokens(config) if self.layers else sys.maxsize
        self.reads_words = bool(self.layers) and config.pooling == "word"
        if self.reads_words:
            self.tables["utt2word_tokens"] = SortedTable(self.data_dir / "utt2word_tokens", "stage 4")
        self.speech_of = {}
        if self.layers and config.speech_of == "another":
            self.speech_of = other_utterances(self.data_dir)
        self.skipped = Skipped(str(self.data_dir))
        self.lines, self.lengths = self._usable_lines(config)

    def _check_sizes(self, config: ModelConfig) -> None:
        sizes = [("units.json", "K", "speech_token_size", "stage 5")]
        sizes += [("spk_emb.json", "dim", "spk_embed_dim", "stage 6")]
        if self.layers:
            sizes += [("feats.json", "dim", "encoder_dim", "stage 4")]
        for name, key, setting, stage in sizes:
            found, expected = read_json(self.data_dir / name, stage)[key], getattr(config, setting)
            if found != expected:
                raise RecipeError(
                    f"{self.data_dir / name}: {key} is {found}, but the model's {setting} is {expected}; "
                    f"change the model's configuration, or run {stage} again with other options"
                )
        self.tokens_record = read_json(self.data_dir / "tokens.json", "stage 4")
        vocab_size = self.tokens_record["vocab_size"]
        if vocab_size > config.text_token_size:
            raise RecipeError(
                f"{self.data_dir / 'tokens.json'}: vocab_size is {vocab_size}, more than the model's text_token_size "
                f"of {config.text_token_size}"
            )

    def _usable_lines(self, config: ModelConfig) -> tuple[dict[str, array], np.ndarray]:
        """Where each table has the utterances that can be used, and the number of units of each."""
        lines, lengths = {name: array("q") for name in self.tables}, array("q")
        table = self.tables["utt2s3"]
        for utt, present in self._present():
            if "utt2s3" not in present:
                self.skipped.add(utt, f"is in {', '.join(present)}, but has no units", self.data_dir)
                continue
            if missing := [name for name in self.tables if name not in present]:
                self.skipped.add(utt, f"has units, but is missing from {', '.join(missing)}", self.data_dir)
                continue
            try:
                units = np.array(table.line(present["utt2s3"])[1].split(), dtype=np.int64)
            except ValueError as error:
                self.skipped.add(utt, error, table.path)
                continue
            if not len(units):
                self.skipped.add(utt, "has no units", table.path)
            elif units.min() < 0 or units.max() >= config.speech_token_size:
                beyond = units.max() if units.max() >= config.speech_token_size else units.min()
                self.skipped.add(utt, f"unit {beyond} lies outside 0 to {config.speech_token_size - 1}", table.path)
            else:
                lengths.append(len(units))
                for name, line in present.items():
                    lines[name].append(line)
        self.skipped.report(len(lengths) + len(self.skipped))
        if not lengths:
            raise RecipeError(f"{table.path} is empty; stage 5 makes it")
        return lines, np.array(lengths)

    def _present(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Every utterance of any table, in order: its id, and its line in each table that it is in.

        The sorted tables are merged as they are read, so that no list of all ids is held.
        """

        def entries(name: str) -> Iterator[tuple[bytes, str, int]]:
            return ((utt.encode(), name, line) for line, utt in enumerate(self.tables[name].keys()))

        for utt, group in groupby(heapq.merge(*map(entries, self.tables)), key=itemgetter(0)):
            yield utt.decode(), {name: line for _, name, line in group}

    def __len__(self) -> int:
        return len(self.lengths)

    def utt(self, index: int) -> str:
        """The id of an utterance."""
        return self.tables["utt2s3"].line(self.lines["utt2s3"][index])[0]

    @property
    def utts(self) -> list[str]:
        """The ids of all utterances, in order."""
        return [self.utt(index) for index in range(len(self))]

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """Read a batch. Utterances whose archives are damaged are left out of it and stand in its `damaged`."""
        return self._batch(*self._rows(indices))

    def _batch(self, rows: list[dict[str, Any]], damaged: dict[str, str]) -> Batch:
        return make_batch(rows, self.layers, damaged)

    def _rows(self, indices: Sequence[int]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """What `_read` gives of utterances, and of those whose archives are damaged why."""
        rows, damaged = [], {}
        for index in indices:
            try:
                rows.append(self._read(index))
            except UtteranceError as error:
                damaged[self.utt(index)] = str(error)
        return rows, damaged

    def with_found(self, scp: Path) -> UnitDataset:
        """The same utterances with what an attention has found in their layers, in the place of these.

        Args:
            scp: of the archives of it, (text, encoder_dim) an utterance.
        """
        dataset = copy.copy(self)
        dataset.tables, dataset.layers = {**self.tables, FOUND: SortedTable(scp, "training")}, []
        return dataset

    def _read(self, index: int) -> dict[str, Any]:
        """What is read of an utterance, in the form that `make_batch` takes."""
        utt = self.utt(index)
        row: dict[str, Any] = {"utt": utt, "token": torch.tensor(_integers(self._value("utt2token", index)))}
        if len(row["token"]) > self.most_tokens:
            raise UtteranceError(f"{len(row['token'])} text tokens; Whisper's decoder takes {self.most_tokens}")
        row["unit"] = torch.tensor(_integers(self._value("utt2s3", index)))
        row["spk_emb"] = _tensor(self._value("spk_emb.scp", index)).flatten()
        if self.reads_words:
            row["word"] = self._words(index, len(row["token"]))
        if self.codebooks:
            row["code"] = self._codes(index, len(row["token"]))
        if FOUND in self.tables:
            row["found"] = _tensor(self._value_of(FOUND, utt))
        for layer in self.layers:
            name = scp_name(layer)
            other = self.speech_of.get(utt)
            row[layer] = _tensor(self._value_of(name, other) if other else self._value(name, index))
        frames = {layer: len(row[layer]) for layer in self.layers}
        if len(set(frames.values())) > 1:
            found = ", ".join(f"{number} of {layer}" for layer, number in frames.items())
            raise UtteranceError(f"layers of unlike numbers of frames in {self.data_dir} ({found}); run stage 4 again")
        return row

    def _words(self, index: int, tokens: int) -> Tensor:
        """The number of the word that each text token belongs to: (tokens,)."""
        lengths = torch.tensor(_integers(self._value("utt2word_tokens", index)))
        if int(lengths.sum()) != tokens:
            raise UtteranceError(
                f"{tokens} tokens in utt2token, but {int(lengths.sum())} in utt2word_tokens of {self.data_dir}; "
                "run stage 4 again"
            )
        return torch.arange(len(lengths)).repeat_interleave(lengths)

    def _codes(self, index: int, tokens: int) -> Tensor:
        """The TASTE tokens of an utterance: (tokens, codebooks)."""
        code = torch.tensor(_integers(self._value("utt2taste", index)))
        if len(code) != tokens * self.codebooks:
            raise UtteranceError(
                f"{len(code)} integers in {self.tables['utt2taste'].path}, but {tokens} text tokens with "
                f"{self.codebooks} codebooks make {tokens * self.codebooks}; write the file again"
            )
        return code.view(tokens, self.codebooks)

    def units(self, utt: str) -> list[int]:
        """The units of an utterance."""
        return _integers(self.tables["utt2s3"][utt])

    def text_tokens(self) -> Tensor:
        """The ids of all text tokens that occur, each once: (n,) int64."""
        table = self.tables["utt2token"]
        return torch.tensor(sorted({int(token) for i in range(len(table)) for token in table.line(i)[1].split()}))

    def _value(self, name: str, index: int) -> str:
        """What a table says of an utterance of this set."""
        return self.tables[name].line(self.lines[name][index])[1]

    def _value_of(self, name: str, utt: str) -> str:
        """What a table says of any utterance."""
        try:
            return self.tables[name][utt]
        except KeyError as error:
            raise UtteranceError(f"is not in {self.tables[name].path}") from error

    def batches(self, batch_units: int, seed: int | None = None, epoch: int = 0) -> list[list[int]]:
        """Indices grouped into batches of utterances of about the same length.

        Args:
            batch_units: the longest utterance times the number of utterances stays within this (one utterance may be
                longer than it).
            seed: shuffles utterances of like length and the batches; None keeps the order of lengths.
            epoch: another one shuffles otherwise.
        """
        order = np.argsort(self.lengths, kind="stable")
        if seed is not None:
            random = np.random.default_rng((seed, epoch))
            order = np.argsort(self.lengths * random.uniform(0.9, 1.1, len(self.lengths)), kind="stable")
        groups = grouped(order.tolist(), self.lengths, batch_units)
        if seed is not None:
            random.shuffle(groups)
        return groups

    def read(
        self,
        batch_units: int,
        device: torch.device,
        what: str | None = None,
        share: Callable[[list[list[int]]], list[list[int]]] = list,
        seed: int | None = None,
    ) -> Iterator[Batch]:
        """Read all utterances once, in batches on a device; batches whose utterances are all damaged are left out.

        Args:
            batch_units: as in `batches`, as is `seed`.
            what: shown with the progress, which is not shown without.
            share: picks the batches that this process reads, where several do.
        """
        groups = share(self.batches(batch_units, seed))
        batches = self.load(groups)
        for batch in progress(batches, what, len(groups), "batch") if what else batches:
            if batch.utts:
                yield batch.to(device)

    def load(self, batches: list[list[int]]) -> Iterator[Batch]:
        """Read batches ahead of their use.

        Utterances with damaged archives are named once and left out; a batch may have none left.
        """
        for batch in starmap(self._batch, ahead_of_use(self._rows, batches)):
            for utt, reason in batch.damaged.items():
                if utt not in self.skipped.reasons:
                    self.skipped.add(utt, reason)
            yield batch


def grouped(order: Sequence[int], lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Group indices into batches as large as may be, in the order given.

    Args:
        lengths: of each index.
        limit: the longest of a batch times their number stays within it; one that is longer is a batch by itself.
    """
    groups: list[list[int]] = [[]]
    longest = 0
    for index in order:
        longest = max(longest, int(lengths[index]))
        if groups[-1] and longest * (len(groups[-1]) + 1) > limit:
            groups.append([])
            longest = int(lengths[index])
        groups[-1].append(index)
    return groups


def _integers(value: str) -> list[int]:
    return [int(number) for number in value.split()]


def _tensor(location: str) -> Tensor:
    return torch.from_numpy(np.require(read_array(location), requirements="W"))
