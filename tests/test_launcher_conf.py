"""conf/slurm.conf and conf/queue.conf: what the scheduler is given for a launcher's options."""

import re

import pytest

from taste.errors import RecipeError
from taste.launcher.call import parse_call
from taste.launcher.cluster import ranges
from taste.launcher.conf import SHIPPED, find_conf, read_conf, submit_command

CONF = """# of a cluster
command sbatch --export=PATH  -p "long queue" # with spaces
option time=* --time $0
option mem=* --mem-per-cpu $0,$0
option mem=0          # nothing

option num_threads=* --cpus-per-task $0 --ntasks-per-node=1
option num_threads=1 --cpus-per-task 1
default gpu=0
option gpu=0 -p shared
option gpu=* -p gpu --gres=gpu:$0
option name=*
default partition=a.b
option partition=* --partition=$0
"""


def words(folder, *options, conf=CONF):
    (folder / "my.conf").write_text(conf)
    return submit_command(read_conf(folder / "my.conf"), parse_call([*options, "x.log", "true"]))


def test_options_become_the_schedulers(tmp_path):
    command = ["sbatch", "--export=PATH", "-p", "long queue"]
    defaults = ["-p", "shared", "--partition=a.b"]
    assert words(tmp_path) == command + defaults
    assert words(tmp_path, "--mem", "4G", "--num-threads", "4") == [
        *command, *defaults, "--mem-per-cpu", "4G,4G", "--cpus-per-task", "4", "--ntasks-per-node=1",
    ]  # fmt: skip
    assert words(tmp_path, "--mem", "0", "--num-threads", "1", "--name", "x") == [
        *command, *defaults, "--cpus-per-task", "1",
    ]  # fmt: skip
    assert words(tmp_path, "--gpu", "2", "-A", "me") == [
        *command, "-p", "gpu", "--gres=gpu:2", "--partition=a.b", "-A", "me",
    ]  # fmt: skip


def test_what_the_launcher_itself_does_needs_no_line(tmp_path):
    options = ["--max-jobs-run", "3", "--retry", "2", "--config", "my.conf"]
    assert words(tmp_path, *options, conf="command qsub") == ["qsub"]


@pytest.mark.parametrize(
    ("conf", "options", "message"),
    [
        ("command a\noption gpu=0", ["--gpu", "1"], "my.conf:2: --gpu takes 0 here, got 1; add a line 'option gpu"),
        ("command a", ["--num-threads", "2"], "my.conf has no line for --num-threads 2; add a line 'option num"),
        ("command a\ndefault gpu=0", [], "my.conf has no line for --gpu 0"),
        ("command a\n\noptoin gpu=0 x", [], "my.conf:3: cannot read 'optoin gpu=0 x'; lines are 'command …'"),
        ("command a\noption gpu -x", [], "my.conf:2: cannot read 'option gpu -x'"),
        ("command a\ndefault gpu=0 1", [], "my.conf:2: cannot read"),
        ("command a\noption gpu=* -q 'all", [], "my.conf:2: a quote has no end"),
        ("option gpu=0", [], "my.conf has no line 'command …'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path, conf, options, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        words(tmp_path, *options, conf=conf)


def test_the_recipes_own_file_counts_more_than_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = parse_call(["x.log", "true"])
    assert find_conf(call, "slurm.conf") == SHIPPED / "slurm.conf"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").touch()
    assert find_conf(call, "slurm.conf").resolve() == tmp_path / "conf/slurm.conf"
    assert find_conf(parse_call(["--config", "conf/slurm.conf", "x.log", "true"]), "queue.conf").name == "slurm.conf"
    with pytest.raises(RecipeError, match="there is no file none"):
        find_conf(parse_call(["--config", "none.conf", "x.log", "true"]), "queue.conf")


@pytest.mark.parametrize("name", ["slurm.conf", "queue.conf"])
def test_files_that_ship_know_what_kaldis_recipes_ask_for(name):
    options = ["--mem", "4G", "--num-threads", "4", "--gpu", "1", "--time", "4:0:0"]
    command = submit_command(read_conf(SHIPPED / name), parse_call([*options, "x.log", "true"]))
    assert {"4G", "4", "4:0:0"} <= set(re.split("[= ]", " ".join(command)))


def test_ranges():
    assert ranges([1, 2, 3, 5, 8, 9]) == [(1, 3), (5, 5), (8, 9)]
    assert ranges(range(2, 5)) == [(2, 4)]
