import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """#!/usr/bin/env bash
set -euo pipefail
stage=1
stop_stage=9
train=true
name="two words"
cmd=run.pl
empty=
help_message="Usage: script [--stage N]
 100% of it"
. utils/parse_options.sh
printf '%s|' "$stage" "$stop_stage" "$train" "$name" "$cmd" "$empty" "$@"
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "utils").symlink_to(ROOT / "utils")
    (tmp_path / "script.sh").write_text(SCRIPT)

    def call(*arguments):
        return subprocess.run(["bash", "script.sh", *arguments], cwd=tmp_path, capture_output=True, text=True)

    return call


def test_options_set_variables_and_leave_the_rest(run):
    result = run("--stage", "3", "--stop-stage", "4", "--name", "it's $HOME; `x`", "data/a b", "--stage", "7")
    assert result.stderr == ""
    assert result.stdout == "3|4|true|it's $HOME; `x`|run.pl||data/a b|--stage|7|"


def test_without_options(run):
    assert run().stdout == "1|9|true|two words|run.pl||"
    assert run("--stop_stage", "-1", "--empty", "", "x").stdout == "1|-1|true|two words|run.pl||x|"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stagee", "3"], "invalid option --stagee"),
        (["--stage=3"], "'--name value'"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--train"], "got '--train'"),
        (["--train", "yes"], "takes true or false, got 'yes'"),
        (["--a[$(touch harm)]", "1"], "invalid option"),
        (["--", "1"], "invalid option"),
        (["--cmd", ""], "--cmd is empty"),
        (["--config", "none.conf"], "cannot read the file 'none.conf'"),
        (["--config"], "cannot read the file ''"),
    ],
)
def test_wrong_options_are_errors(run, arguments, message, tmp_path):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "harm").exists()


def test_command_line_counts_more_than_config(run, tmp_path):
    (tmp_path / "my.conf").write_text("stage=5\nname='from file'\n")
    assert run("--stage", "6", "--config", "my.conf", "x").stdout == "6|9|true|from file|run.pl||x|"


def test_an_option_that_a_config_cannot_set_is_named_with_its_line(run, tmp_path):
    (tmp_path / "my.conf").write_text("# stagee is a mistake\nstage=5\n\nstagee=6 train=false\n")
    result = run("--config", "my.conf")
    assert result.returncode == 1 and result.stdout == ""
    assert "./my.conf:4: invalid option stagee; 'script.sh --help' lists the options" in result.stderr
    (tmp_path / "my.conf").write_text('HERE="of my own"\nname="$HERE"\n')
    assert run("--config", "my.conf").stdout == "1|9|true|of my own|run.pl||"


def test_help(run):
    result = run("--stage", "3", "--help")
    assert result.returncode == 0
    assert result.stdout == "Usage: script [--stage N]\n 100% of it\n"
