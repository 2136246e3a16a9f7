"""Jobs on this machine."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from taste.launcher.call import Call
from taste.launcher.failures import Failure, exit_failure
from taste.launcher.job import Watch, run_job, threads_environment
from taste.launcher.signals import interrupts
from taste.options import positive_int


def run_locally(call: Call, jobs: Sequence[int]) -> dict[int, Failure]:
    """Run these jobs of a call on this machine, side by side, and wait for all of them.

    As many run at once as there are processors for `--num-threads` each, or with `--gpu N` as the GPUs can serve, N
    for each job (which sees only its own through CUDA_VISIBLE_DEVICES); `--max-jobs-run` says otherwise. Other
    options are for schedulers and mean nothing here. SIGINT, SIGTERM and SIGHUP end the jobs.

    Returns:
        Why jobs failed.

    Raises:
        RecipeError: as `run_job`.
        KeyboardInterrupt: one of the signals came; the jobs have been ended.
    """
    environments, at_once = _resources(call, len(jobs))
    slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for slot in range(at_once):
        slots.put(environments[slot % len(environments)])
    watch = Watch()

    def run(job: int) -> int:
        environment = slots.get()
        try:
            return run_job(call.command(job), call.log(job), environment, watch)
        finally:
            slots.put(environment)

    with interrupts() as signals, ThreadPoolExecutor(at_once) as pool:
        futures = {job: pool.submit(run, job) for job in jobs}
        try:
            statuses = {job: future.result() for job, future in futures.items()}
        except BaseException:
            signals.ignore()
            pool.shutdown(wait=False, cancel_futures=True)
            watch.end()
            raise
    return {job: exit_failure(status) for job, status in statuses.items() if status}


def _resources(call: Call, jobs: int) -> tuple[list[dict[str, str]], int]:
    """The environments that the jobs' slots take in turn, and the number of jobs that run at once."""
    if call.options.get("gpu", "0") != "0":
        gpus_a_job = positive_int("--gpu", call.options["gpu"])
        devices = _gpus()
        groups = [devices[start : start + gpus_a_job] for start in range(0, len(devices), gpus_a_job)]
        groups = [group for group in groups if len(group) == gpus_a_job]
        environments = [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups] or [{}]
        return environments, min(jobs, call.max_jobs_run or len(environments))
    at_once = max(1, _processors() // (call.num_threads or 1))
    if at_once < jobs < 1.4 * at_once:
        at_once = jobs  # as Kaldi: rather a little crowded than one job after all the others
    return [threads_environment(call.num_threads)], min(jobs, call.max_jobs_run or at_once)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
    """The GPUs that a job may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        print("warning: nvidia-smi finds no GPU; the jobs run one after the other", file=sys.stderr)
        return []
    return [str(number) for number, _ in enumerate(listing.splitlines())]
