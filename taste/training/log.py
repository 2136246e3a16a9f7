"""The records that training leaves: `steps.jsonl`, `epochs.jsonl` and TensorBoard's events."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TextIO

from torch.utils.tensorboard import SummaryWriter

from taste.files import write_text

logger = logging.getLogger(__name__)


class TrainingLog:
    """Logs of one training run, which a resumed run goes on with."""

    def __init__(self, system_dir: Path, step: int) -> None:
        """Open the logs; what lies after update `step`, of a run that was stopped, is dropped."""
        self.steps = _reopen(system_dir / "steps.jsonl", step)
        self.epochs = _reopen(system_dir / "epochs.jsonl", step)
        self.board = SummaryWriter(str(system_dir / "tensorboard"), purge_step=step + 1)

    def step(self, record: dict) -> None:
        """Log one update; the record has `step`, `loss`, `top1`, `learning_rate` and more."""
        self.steps.write(json.dumps(record) + "\n")
        for name in ("loss", "top1", "learning_rate"):
            self.board.add_scalar(f"train/{name}", record[name], record["step"])

    def epoch(self, record: dict) -> None:
        """Log the dev figures after an epoch."""
        self.epochs.write(json.dumps(record) + "\n")
        self.board.add_scalar("dev/loss", record["dev_loss"], record["step"])
        self.board.add_scalar("dev/top1", record["dev_top1"], record["step"])
        logger.info("epoch %d: dev loss %.4f, top-1 %.4f", record["epoch"], record["dev_loss"], record["dev_top1"])

    def close(self) -> None:
        """Close the files."""
        self.steps.close()
        self.epochs.close()
        self.board.close()


def _reopen(path: Path, step: int) -> TextIO:
    """Open a log for appending after its last record of an update up to `step`."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and step else []
    # the last line may have been cut by what stopped the run
    whole = (line for line in lines if line.endswith("\n"))
    write_text(path, "".join(line for line in whole if json.loads(line)["step"] <= step))
    return open(path, "a", encoding="utf-8", buffering=1)
