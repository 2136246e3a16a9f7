"""What an attention that is not trained finds in the speech: worked out once, instead of again in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from taste.archives import ArchiveWriter
from taste.dataset import FOUND, UnitDataset
from taste.model.joint import JointModel
from taste.precision import autocast
from taste.tables import read_table, write_table
from taste.training.distributed import Processes

FOUND_DIR = "found"  # in the system's directory, while it is trained


@torch.no_grad()
def find_once(
    model: JointModel, sets: Sequence[UnitDataset], batch_units: int, dtype: torch.dtype, system_dir: Path,
    group: Processes,
) -> list[UnitDataset]:  # fmt: skip
    """Put what the aggregator finds in the layers of sets in the place of these, if training does not change it.

    It takes less than a tenth of the layers: there are as many rows as text tokens, not frames. Archives of it
    are written to `system_dir / FOUND_DIR`, by each process those of its share. Utterances whose layers cannot be read
    are named and left out.

    Args:
        sets: the training and the dev set.
        batch_units: as in `UnitDataset.batches`.
        dtype: of autocast.

    Returns:
        The sets with it, or as they are.

    Raises:
        RecipeError: the disk is full.
    """
    aggregator = model.speech and model.speech.aggregator
    if aggregator is None or not aggregator.finds_the_same:
        return list(sets)
    with_found = []
    for number, dataset in enumerate(sets):
        folder = system_dir / FOUND_DIR / str(number)
        what = f"what the attention finds in {dataset.data_dir}" if group.is_first else None
        with ArchiveWriter(folder / f"{group.rank}.ark", folder / f"{group.rank}.scp") as archive:
            for batch in dataset.read(batch_units, group.device, what, group.share):
                with autocast(group.device, dtype):
                    found, _ = aggregator.find(batch.text_token, batch.float_layers(), batch.frames)
                for utt, length, each in zip(batch.utts, batch.text_length.tolist(), found.float().cpu(), strict=True):
                    archive.write(utt, each[:length].numpy())
        group.gather(None)  # wait for the others
        if group.is_first:
            parts = [read_table(folder / f"{rank}.scp") for rank in range(group.count)]
            write_table(folder / FOUND, {utt: location for part in parts for utt, location in part.items()})
        group.gather(None)
        with_found.append(dataset.with_found(folder / FOUND))
    return with_found
