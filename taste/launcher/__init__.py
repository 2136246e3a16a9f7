"""Launchers of jobs with Kaldi's call: on this machine, through SLURM, or through Grid Engine."""
