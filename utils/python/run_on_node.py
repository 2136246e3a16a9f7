#!/usr/bin/env python3
"""Run one job of utils/slurm.pl or utils/queue.pl on its node; the scripts that these submit call it.

Usage: utils/python/run_on_node.py FOLDER JOB NAME [options] [JOB=1:N] LOG command [argument ...]

Runs job number JOB of the call, with its log, and writes its exit status to FOLDER/JOB.status; NAME is what the
scheduler calls the job.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's launchers

from taste.errors import run_main
from taste.launcher.call import parse_call
from taste.launcher.cluster import run_on_node


def main() -> None:
    """Run the job on the command line."""
    if len(sys.argv) < 5:
        print(__doc__.strip())
        sys.exit(1)
    folder, job, name, *arguments = sys.argv[1:]
    sys.exit(run_on_node(parse_call(arguments), Path(folder), int(job), name))


if __name__ == "__main__":
    run_main(main)
