#!/usr/bin/env python3
"""Print the lines of a table whose id is in a list.

Usage: utils/filter_scp.pl [--exclude] [-f <field>] <id-list> [<in.scp>] > <out.scp>
 e.g.: utils/filter_scp.pl data/dev/utt2spk data/all/text > data/dev/text

Only the first field of each line of <id-list> matters. -f tells in which field of <in.scp> the id stands (default: 1);
--exclude prints the lines whose id is not in the list. Reads standard input where no <in.scp> is given.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.contents import filter_lines, input_path, print_lines
from taste.errors import run_main
from taste.options import exit_with_usage, positive_int


def main() -> None:
    """Filter the file on the command line."""
    arguments = sys.argv[1:]
    exclude, field = False, 1
    while arguments[:1] == ["--exclude"] or (arguments[:1] == ["-f"] and len(arguments) > 1):
        if arguments.pop(0) == "--exclude":
            exclude = True
        else:
            field = positive_int("-f", arguments.pop(0))
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        exit_with_usage(__doc__)
    print_lines(filter_lines(input_path(arguments[1:]), Path(arguments[0]), field, exclude))


if __name__ == "__main__":
    run_main(main)
