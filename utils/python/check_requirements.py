#!/usr/bin/env python3
"""Say whether the running Python satisfies requirement files: exit status 0, or 1 and what is missing."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ImportError:
    from pip._vendor.packaging.requirements import Requirement


def main() -> None:
    """Check the files named on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] == "--help":
        sys.exit(f"Usage: {sys.argv[0]} <requirements.txt> …\n{__doc__}")
    lines = [line.partition("#")[0].strip() for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    missing = []
    for requirement in map(Requirement, filter(None, lines)):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(f"{requirement} (absent)")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append(f"{requirement} (found {found})")
    if missing:
        sys.exit(f"this environment ({sys.prefix}) lacks {', '.join(missing)}")


if __name__ == "__main__":
    main()
