"""What every launcher does: read its call, run the jobs, run those that failed again, say what became of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from taste.errors import RecipeError
from taste.launcher.call import Call, parse_call
from taste.launcher.failures import Failure, describe_failures

Run = Callable[[Call, Sequence[int]], dict[int, Failure]]


def launch(usage: str, run: Run) -> None:
    """Run the call on the command line, and the failed jobs again as often as `--retry` says.

    Args:
        usage: what `--help` prints.
        run: runs these jobs of a call, waits for them and returns why some failed.

    Raises:
        RecipeError: the call is wrong, or jobs failed in the end.
    """
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        print(usage.strip())
        sys.exit(0 if sys.argv[1:] else 1)
    call = parse_call(sys.argv[1:])
    failed = run(call, call.jobs)
    for attempt in range(1, call.retry + 1):
        again = [job for job, failure in failed.items() if failure.again]
        if not again:
            break
        print(describe_failures(call, failed), file=sys.stderr)
        print(f"running again, {attempt} of {call.retry}: {call.names(again)}", file=sys.stderr)
        failed = {job: failure for job, failure in failed.items() if not failure.again} | run(call, again)
    if failed:
        raise RecipeError(describe_failures(call, failed))
