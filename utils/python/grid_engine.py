#!/usr/bin/env python3
"""Run jobs through Grid Engine, as Kaldi's queue.pl does.

Usage: utils/queue.pl [options] [JOB=1:N] LOG command [argument ...]
 e.g.: utils/queue.pl --mem 4G --num-threads 4 JOB=1:8 exp/log/feats.JOB.log local/feats.py data/train/split8/JOB
       utils/queue.pl --gpu 1 --time 12:0:0 -q gpu.q exp/taste/train.log local/train.py ...

JOB, the command and the logs are as with utils/run.pl. The jobs become one array; the machines see the same files.
Exit status 0 if every job succeeded; else 1, with the failed jobs, why, and the ends of their logs; Ctrl-C and SIGTERM
delete the jobs.

Options:
  --mem 4G           memory of each job
  --num-threads N    threads of each job (sets OMP_NUM_THREADS)
  --gpu N            GPUs of each job
  --time H:M:S       how long each job may take
  --max-jobs-run N   how many jobs run at once (default: as the cluster allows)
  --retry N          how many times the failed jobs, and they alone, run again (default: 0); not if they were deleted
  --config FILE      what the options are for qsub (default: conf/queue.conf, else the one at the top of the recipes)
  --NAME VALUE       any other that this file has a line for
  -q gpu.q, ...      options with one dash and a value, for qsub; -V, and -pe smp 4
"""

# utils/queue.py and queue.pl are links to this file; one of that name in this folder would stand before Python's own
# module queue, for every script beside it.

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's launchers

from taste.errors import run_main
from taste.launcher.grid_engine import run_with_grid_engine
from taste.launcher.launch import launch

if __name__ == "__main__":
    run_main(lambda: launch(__doc__, run_with_grid_engine))
