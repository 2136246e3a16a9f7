#!/usr/bin/env python3
"""Run jobs through SLURM, as Kaldi's slurm.pl does.

Usage: utils/slurm.pl [options] [JOB=1:N] LOG command [argument ...]
 e.g.: utils/slurm.pl --mem 4G --num-threads 4 JOB=1:8 exp/log/feats.JOB.log local/feats.py data/train/split8/JOB
       utils/slurm.pl --gpu 1 --time 12:0:0 -p gpu exp/taste/train.log local/train.py ...

JOB, the command and the logs are as with utils/run.pl. The jobs become one array; the machines see the same files.
Exit status 0 if every job succeeded; else 1, with the failed jobs, why, and the ends of their logs; Ctrl-C and SIGTERM
cancel the jobs.

Options:
  --mem 4G           memory for each thread
  --num-threads N    threads of each job (sets OMP_NUM_THREADS)
  --gpu N            GPUs of each job
  --time H:M:S       how long each job may take
  --max-jobs-run N   how many jobs run at once (default: as the cluster allows)
  --retry N          how many times the failed jobs, and they alone, run again (default: 0); not if they were cancelled
  --config FILE      what the options are for sbatch (default: conf/slurm.conf, else the one at the top of the recipes)
  --NAME VALUE       any other that this file has a line for
  -p gpu, ...        options with one dash and a value, for sbatch
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's launchers

from taste.errors import run_main
from taste.launcher.launch import launch
from taste.launcher.slurm import run_with_slurm

if __name__ == "__main__":
    run_main(lambda: launch(__doc__, run_with_slurm))
