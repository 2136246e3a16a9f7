"""conf/slurm.conf and conf/queue.conf: how a launcher's options become those of the scheduler, in Kaldi's syntax.

A line is one of these; what follows a # is a comment, and `$0` stands for the option's value::

    command sbatch --export=ALL
    option mem=* --mem-per-cpu=$0
    option gpu=0
    option gpu=* --gres=gpu:$0
    default gpu=0

A line for one value counts more than the line for `*`. The words of a line are split as a shell does it; nothing else
of a shell happens to them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from taste.errors import RecipeError
from taste.launcher.call import Call

SHIPPED = Path(__file__).resolve().parents[2] / "conf"
KINDS = "'command …', 'option name=value …', 'option name=* …' and 'default name=value'"


@dataclass
class Conf:
    """A conf file: the lines' words, and where they stand.

    `options` maps names to values (`*` for any) to the words that the scheduler is given.
    """

    path: Path
    command: list[str] = field(default_factory=list)
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    last_lines: dict[str, int] = field(default_factory=dict)

    def words(self, name: str, value: str) -> list[str]:
        """What the scheduler is given for an option.

        Raises:
            RecipeError: the file does not say.
        """
        values = self.options.get(name, {})
        if value in values:
            return values[value]
        if "*" in values:
            return [word.replace("$0", value) for word in values["*"]]
        option = "--" + name.replace("_", "-")
        add = f"add a line 'option {name}=* …' with the scheduler's own option for it, $0 in place of the value"
        if values:
            where = f"{self.path}:{self.last_lines[name]}"
            raise RecipeError(f"{where}: {option} takes {' or '.join(values)} here, got {value}; {add}")
        raise RecipeError(
            f"{self.path} has no line for {option} {value}; {add}, or 'option {name}=*' alone, and it is left out"
        )


def find_conf(call: Call, name: str) -> Path:
    """The conf file of a call: its `--config`, else conf/`name` of the present directory, else the one that ships.

    Raises:
        RecipeError: the file that `--config` names does not exist.
    """
    if "config" in call.options:
        path = Path(call.options["config"])
        if not path.is_file():
            raise RecipeError(f"--config: there is no file {path}")
        return path
    own = Path("conf") / name
    return own if own.is_file() else SHIPPED / name


def read_conf(path: Path) -> Conf:
    """Read a conf file.

    Raises:
        RecipeError: a line that is none of the four kinds, or no command.
    """
    conf = Conf(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = re.sub(r"\s*#.*", "", line).strip()
        try:
            if match := re.fullmatch(r"command\s+(.+)", line):
                conf.command = shlex.split(match[1])
            elif match := re.fullmatch(r"option\s+([^\s=]+)=(\S+)\s*(.*)", line):
                conf.options.setdefault(match[1], {})[match[2]] = shlex.split(match[3])
                conf.last_lines[match[1]] = number
            elif match := re.fullmatch(r"default\s+([^\s=]+)=(\S+)", line):
                conf.defaults[match[1]] = match[2]
            elif line:
                raise RecipeError(f"{path}:{number}: cannot read '{line}'; lines are {KINDS}")
        except ValueError as error:  # of shlex
            raise RecipeError(f"{path}:{number}: a quote has no end in '{line}'") from error
    if not conf.command:
        raise RecipeError(f"{path} has no line 'command …', which says how jobs are submitted")
    return conf


def submit_command(conf: Conf, call: Call) -> list[str]:
    """The scheduler's command for a call: that of the file, its words for the call's options, the call's own words.

    Raises:
        RecipeError: the file does not know an option of the call.
    """
    options = {**conf.defaults, **{name: value for name, value in call.options.items() if name != "config"}}
    words = [word for name, value in options.items() for word in conf.words(name, value)]
    return [*conf.command, *words, *call.native]
