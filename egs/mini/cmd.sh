# shellcheck shell=bash
# How jobs are run: on this machine. On a cluster, name its launcher here with what jobs need, e.g.
#   SLURM:        export train_cmd="utils/slurm.pl --mem 4G --retry 1" cuda_cmd="utils/slurm.pl --gpu 1 --time 48:0:0"
#   Grid Engine:  export train_cmd="utils/queue.pl --mem 4G --retry 1" cuda_cmd="utils/queue.pl --gpu 1 --time 48:0:0"
# conf/slurm.conf and conf/queue.conf, of this directory or else of the recipes' top, say what these are for it.
export train_cmd="utils/run.pl"
export cuda_cmd="utils/run.pl"
