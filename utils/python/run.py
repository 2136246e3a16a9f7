#!/usr/bin/env python3
"""Run jobs on this machine, as Kaldi's run.pl does.

Usage: utils/run.pl [options] [JOB=1:N] LOG command [argument ...]
 e.g.: utils/run.pl exp/log/count.log wc -l data/train/text '|' sort -n
       utils/run.pl --max-jobs-run 4 JOB=1:8 exp/log/feats.JOB.log local/feats.py data/train/split8/JOB

JOB, which may have another name, becomes the number of the job in the log's name and in the arguments; JOB=5 is job 5
alone. The command runs in bash: words such as '|' and '>out' have their meaning there; a word with spaces is one
argument. Output goes to the log. Exit status 0 if every job succeeded; else 1, with the failed jobs and the ends of
their logs; Ctrl-C and SIGTERM end the jobs.

Options:
  --max-jobs-run N   how many jobs run at once (default: as the processors and GPUs allow)
  --num-threads N    threads of each job (sets OMP_NUM_THREADS)
  --gpu N            GPUs of each job (sets CUDA_VISIBLE_DEVICES)
  --retry N          how many times the failed jobs, and they alone, run again (default: 0)
  --mem 4G, --time 4:0:0, --config FILE, -pe smp 4, ...   for schedulers; they take a value, which is not used here
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's launchers

from taste.errors import run_main
from taste.launcher.launch import launch
from taste.launcher.local import run_locally

if __name__ == "__main__":
    run_main(lambda: launch(__doc__, run_locally))
