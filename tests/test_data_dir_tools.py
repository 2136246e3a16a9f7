"""The data-directory tools from the command line, as people call them."""

import os
import shutil
import subprocess

import pytest

from tests.helpers_data_dir import UTILS, add_audio, contents, make_data_dir, read, tool, write

USAGES = {
    "validate_data_dir.sh": "<data-dir>",
    "fix_data_dir.sh": "<data-dir>",
    "copy_data_dir.sh": "<srcdir> <destdir>",
    "subset_data_dir.sh": "<srcdir> <num-utt> <destdir>",
    "combine_data.sh": "<dest-data-dir> <src-data-dir1>",
    "split_data.sh": "<data-dir> <num-to-split>",
    "filter_scp.pl": "<id-list> [<in.scp>]",
    "utt2spk_to_spk2utt.pl": "[<utt2spk>]",
    "spk2utt_to_utt2spk.pl": "[<spk2utt>]",
    "perturb_data_dir_speed.sh": "<warping-factor> <srcdir> <destdir>",
    "data/get_utt2dur.sh": "<datadir>",
    "data/get_utt2num_frames.sh": "<datadir>",
}


@pytest.mark.parametrize("name", USAGES)
def test_usage(name):
    result = tool(name, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"Usage: utils/{name} ".encode() in result.stdout and USAGES[name].encode() in result.stdout
    result = tool(name, *["too"] * 9) if name != "combine_data.sh" else tool(name, "few")
    assert (result.returncode, result.stdout.count(b"Usage: ")) == (1, 1)


@pytest.mark.parametrize("name", ["validate", "fix", "copy", "subset", "perturb"])
def test_kaldi_has_them_in_utils_data_too(name):
    (path,) = (UTILS / "data").glob(f"{name}_data_dir*.sh")
    assert b"Usage: utils/" + path.name.encode() in tool(f"data/{path.name}", "--help").stdout


def test_validate(data_dir):
    result = tool("validate_data_dir.sh", "--no-feats", data_dir)
    told = f"utils/validate_data_dir.sh: Successfully validated data-directory {data_dir}\n"
    assert (result.returncode, result.stdout.decode()) == (0, told)
    result = tool("validate_data_dir.sh", data_dir)
    assert (result.returncode, b"feats.scp (if this is by design, specify --no-feats)" in result.stdout) == (1, True)
    write(data_dir / "utt2dur", [*read(data_dir / "utt2dur")[:-1], "éva-03\t18.25\r".encode()])
    lines = tool("validate_data_dir.sh", "--no-feats", data_dir).stdout.decode().splitlines()
    assert lines == [
        f"utils/validate_data_dir.sh: {data_dir}/utt2dur:18: holds a carriage return; utils/fix_data_dir.sh removes it",
        f"utils/validate_data_dir.sh: {data_dir}/utt2dur:18: holds a tab; utils/fix_data_dir.sh makes it a space",
    ]


def test_fix(data_dir):
    assert tool("fix_data_dir.sh", data_dir).stdout == b"fix_data_dir.sh: kept all 18 utterances.\n"
    write(data_dir / "text", read(data_dir / "text")[2:])
    told = f"fix_data_dir.sh: kept 16 utterances out of 18\nfix_data_dir.sh: old files are kept in {data_dir}/.backup\n"
    assert tool("fix_data_dir.sh", data_dir).stdout.decode() == told


def test_copy(data_dir, tmp_path):
    # a value may begin with a dash, and be behind an equals sign, as with Kaldi's parse_options.sh
    result = tool("copy_data_dir.sh", "--utt-suffix", "-x", "--spk-prefix=1-", data_dir, tmp_path / "copy")
    assert (result.returncode, read(tmp_path / "copy" / "utt2spk")[0]) == (0, b"ann-00-x 1-ann")
    assert b"Successfully validated" in result.stdout
    result = tool("copy_data_dir.sh", "--prefix", "a", data_dir, tmp_path / "other")
    assert b"invalid option --prefix; --help lists the options" in result.stderr
    result = tool("copy_data_dir.sh", "--validate-opts", "--no-such", data_dir, tmp_path / "copy")
    assert (result.returncode, b"has no option --no-such" in result.stderr) == (1, True)


def test_subset_split_and_combine(data_dir, tmp_path):
    result = tool("subset_data_dir.sh", "--first", data_dir, 4, tmp_path / "head")
    assert result.stdout == b"utils/subset_data_dir.sh: reducing #utt from 18 to 4\n"
    (tmp_path / "speakers").write_text("joe\néva\n")
    result = tool("subset_data_dir.sh", "--spk-list", tmp_path / "speakers", data_dir, tmp_path / "two")
    assert result.stdout.endswith(b"from 18 to 12\n")
    assert tool("subset_data_dir.sh", data_dir, "four", tmp_path / "four").stderr == (
        b"subset_data_dir.py: error: <num-utt> takes a positive number, got 'four'\n"
    )
    assert tool("split_data.sh", "--per-utt", data_dir, 2).returncode == 0
    halves = [data_dir / "split2utt" / str(number) for number in (1, 2)]
    result = tool("combine_data.sh", tmp_path / "both", *halves)
    assert result.stdout.decode().endswith(f"combined 2 directories in {tmp_path}/both\n")
    shutil.rmtree(data_dir / "split2utt")
    assert contents(tmp_path / "both") == contents(data_dir)


def test_filters(data_dir, tmp_path):
    utt2spk = tool("spk2utt_to_utt2spk.pl", data_dir / "spk2utt").stdout
    assert utt2spk == (data_dir / "utt2spk").read_bytes()
    assert tool("utt2spk_to_spk2utt.pl", input=utt2spk).stdout == (data_dir / "spk2utt").read_bytes()
    (tmp_path / "ids").write_text("éva-01 whatever\nbob-00\n")
    assert (
        tool("filter_scp.pl", tmp_path / "ids", data_dir / "utt2dur").stdout.decode() == "bob-00 6.25\néva-01 16.25\n"
    )
    assert len(tool("filter_scp.pl", "--exclude", tmp_path / "ids", data_dir / "text").stdout.splitlines()) == 16
    (tmp_path / "ids").write_text("bob\n")
    assert tool("filter_scp.pl", "-f", 2, tmp_path / "ids", input=utt2spk).stdout == b"bob-00 bob\n"
    result = tool("filter_scp.pl", "missing", data_dir / "text")
    assert (result.returncode, result.stderr) == (1, b"filter_scp.pl: error: missing: No such file or directory\n")
    write(tmp_path / "ids", [b"bob", b""])
    result = tool("filter_scp.pl", tmp_path / "ids", data_dir / "text")
    assert f"{tmp_path}/ids:2: a line without an id" in result.stderr.decode()
    for name, line in (("utt2spk_to_spk2utt.pl", b"a b c"), ("spk2utt_to_utt2spk.pl", b"a")):
        result = tool(name, input=line + b"\n")
        assert (result.returncode, b"/dev/stdin:1: " in result.stderr) == (1, True)


def test_a_filter_stops_quietly_where_its_reader_has_enough(tmp_path):
    write(tmp_path / "table", [b"utt%06d" % number for number in range(200_000)])
    command = 'utils/filter_scp.pl "$1" "$1" | head -n 1; exit "${PIPESTATUS[0]}"'
    result = subprocess.run(["bash", "-c", command, "-", tmp_path / "table"], cwd=UTILS.parent, capture_output=True)
    assert (result.stdout, result.stderr) == (b"utt000000\n", b"")


def test_lengths(data_dir):
    add_audio(data_dir)
    told = f"utils/data/get_utt2num_frames.sh: computed {data_dir}/utt2num_frames\n"
    result = tool("data/get_utt2num_frames.sh", "--nj", 2, "--cmd", "run.pl", data_dir)
    assert (result.returncode, result.stdout.decode()) == (0, told)
    assert read(data_dir / "utt2num_frames")[0] == b"ann-00 8"  # (0.1 - 0.015) / 0.01
    told = f"utils/data/get_utt2dur.sh: {data_dir}/utt2dur already exists with the expected length\n"
    assert tool("data/get_utt2dur.sh", data_dir).stdout.decode() == told


WRITERS = {
    "fix": lambda source, dest: ("fix_data_dir.sh", dest),
    "copy": lambda source, dest: ("copy_data_dir.sh", source, dest),
    "subset": lambda source, dest: ("subset_data_dir.sh", source, 5, dest),
    "combine": lambda source, dest: ("combine_data.sh", dest, source),
    "split": lambda source, dest: ("split_data.sh", dest, 2),
}


@pytest.fixture
def destination(tmp_path):
    """A data directory that is not sorted, and large enough to meet the limit of the disk."""
    dest = make_data_dir(tmp_path / "dest")
    write(dest / "text", [line + b" WORD" * 400 for line in reversed(read(dest / "text"))])
    return dest


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk(data_dir, destination, writer):
    write(data_dir / "text", [line + b" WORD" * 400 for line in read(data_dir / "text")])
    before = contents(destination)
    name, *arguments = map(str, WRITERS[writer](data_dir, destination))
    command = ["bash", "-c", 'ulimit -f 8; exec "$0" "$@"', UTILS / name, *arguments]  # 8 KiB a file
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "/text: File too large; allow larger files" in last
    after = contents(destination)
    assert {name: after[name] for name in before if "split" not in name} == before
    assert not list(destination.rglob("*.partial"))


@pytest.mark.parametrize("writer", WRITERS)
def test_read_only_directory(data_dir, destination, writer):
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and setpriv, which could change that, is not installed")
    before = contents(destination)
    destination.chmod(0o555)
    as_anyone = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    name, *arguments = map(str, WRITERS[writer](data_dir, destination))
    result = subprocess.run([*as_anyone, UTILS / name, *arguments], capture_output=True, text=True)
    destination.chmod(0o755)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"error: {destination}" in last and "Permission denied; change its permissions" in last
    assert contents(destination) == before
