# shellcheck shell=bash
# How jobs are run: on this machine. On a cluster, name its launcher here, e.g. "utils/slurm.pl --mem 8G".
export train_cmd="utils/run.pl"
export cuda_cmd="utils/run.pl"
