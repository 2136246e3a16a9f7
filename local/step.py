#!/usr/bin/env python3
"""Run a command as a step of a stage, unless what it writes is complete for its present inputs and options.

 e.g.: local/step.py 5 data/train units --inputs data/train/wav.scp --outputs data/train/utt2s3 data/train/units.json \
         -- local/s3.sh data/train exp/units/log/train

Files may be patterns, in quotes, and folders, which stand for all the files in them. The command with other options is
another one; a launcher before it, with its log, only says where it runs. What was run is noted in exp/run.jsonl, which
utils/show_run.sh prints.
"""

import argparse
import sys
from pathlib import Path

from taste.errors import run_main
from taste.options import true_or_false
from taste.steps import Step, run_step


def split(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The options, the launcher and the command, which -- parts."""
    places = [place for place, word in enumerate(words) if word == "--"][:2]
    if not places:
        return words, [], []
    return words[: places[0]], words[places[0] + 1 : places[-1]], words[places[-1] + 1 :]


def main() -> None:
    """Parse the options, run the step."""
    options, launcher, command = split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s STAGE FOLDER NAME [options] [-- LAUNCHER …] -- COMMAND …",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("stage", help="its number")
    parser.add_argument("folder", type=Path, help="where the step's record goes, to .steps/")
    parser.add_argument("name", help="of the step, one of its own in the folder")
    parser.add_argument("--inputs", nargs="*", default=[], metavar="FILE", help="what the command reads")
    parser.add_argument("--outputs", nargs="*", default=[], metavar="FILE", help="what it writes")
    parser.add_argument(
        "--shared", nargs="*", default=[], metavar="FILE", help="what it writes, as other recipes may at the same time"
    )
    parser.add_argument("--updates", nargs="*", default=[], metavar="FILE", help="what it reads and writes anew")
    parser.add_argument(
        "--work", nargs="*", default=[], metavar="FILE",
        help="what it goes on from when it was stopped; removed where inputs or options are others",
    )  # fmt: skip
    parser.add_argument(
        "--state", nargs="*", default=[], metavar="FILE",
        help="the same of what took so long that it is never removed: the step is refused instead",
    )  # fmt: skip
    parser.add_argument("--exp", type=Path, default=Path("exp"), help="where run.jsonl is (default: %(default)s)")
    parser.add_argument("--again", type=true_or_false, default=False, help="run it even if it is complete")
    parser.add_argument(
        "--check", choices=("quick", "full"), default="quick",
        help="quick: sizes and times of files say whether they have changed; full: their contents do",
    )  # fmt: skip
    parsed = parser.parse_args(options)
    if not command:
        parser.error("a command is needed after --")
    step = Step(
        parsed.stage, parsed.folder, parsed.name, command, parsed.inputs, parsed.outputs, parsed.updates, parsed.work,
        parsed.state, parsed.shared, launcher,
    )  # fmt: skip
    sys.exit(run_step(step, parsed.exp, parsed.again, parsed.check == "full"))


if __name__ == "__main__":
    run_main(main)
