"""The tools beside Kaldi's own, from the same inputs."""

import os
import random
import shutil
from pathlib import Path

import pytest

from taste.data_dir.split import split_data
from taste.data_dir.validate import validate_data_dir
from tests.helpers_data_dir import add_segments, contents, make_data_dir, read, repeat, tool, write

pytestmark = pytest.mark.skipif("KALDI_ROOT" not in os.environ, reason="KALDI_ROOT is not set: no Kaldi here")


@pytest.fixture
def kaldi(tmp_path, data_dir):
    """Runs a tool of Kaldi's in a folder whose utils are Kaldi's."""
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "utils").symlink_to(Path(os.environ["KALDI_ROOT"]) / "egs/wsj/s5/utils")
    (tmp_path / "kaldi" / "path.sh").write_text("export PATH=$PWD/utils:$PATH\n")

    def call(name, *arguments, **options):
        return tool(name, *arguments, folder=Path("utils"), cwd=tmp_path / "kaldi", **options)

    return call


def test_kaldi_takes_our_directories(kaldi, tmp_path):
    # Kaldi's scripts cannot have spaces in paths, nor, where the locale is called C.utf8, other letters than ASCII's
    plain = make_data_dir(tmp_path / "plain")
    for table in plain.iterdir():
        if table.is_file() and not table.is_symlink():
            table.write_bytes(table.read_bytes().decode().replace("é", "z").replace("Ä", "A").encode())
    split_data(plain, 2)
    for directory in (plain, plain / "split2/1", plain / "split2/2"):
        result = kaldi("validate_data_dir.sh", "--no-feats", directory)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [["2"], ["3"], ["4"], ["--per-utt", "5"], ["--per-utt", "18"]])
def test_kaldi_splits_alike(kaldi, tmp_path, arguments):
    ours, theirs = (make_data_dir(tmp_path / name, project_files=False) for name in ("ours", "theirs"))
    *options, parts = arguments
    assert tool("split_data.sh", *options, ours, parts).returncode == 0
    assert kaldi("split_data.sh", *options, theirs, parts).returncode == 0
    assert contents(ours) == contents(theirs)


@pytest.mark.parametrize("option", [None, "--first", "--last", "--shortest", "--per-spk"])
@pytest.mark.parametrize("number", [1, 3, 7, 18])
def test_kaldi_chooses_alike(kaldi, tmp_path, option, number):
    source = make_data_dir(tmp_path / "source", project_files=False)
    frames = [b"%s %d" % (line.split()[0], 900 - 7 * i % 50) for i, line in enumerate(read(source / "utt2spk"))]
    write(source / "utt2num_frames", frames)
    shutil.copy(source / "wav.scp", source / "feats.scp")  # Kaldi wants it for --shortest
    options = [option] if option else []
    assert tool("subset_data_dir.sh", *options, source, number, tmp_path / "ours").returncode == 0
    assert kaldi("subset_data_dir.sh", *options, source, number, tmp_path / "theirs").returncode == 0
    spk2utt = tmp_path / "theirs" / "spk2utt"
    write(spk2utt, [line.strip() for line in read(spk2utt)])  # with --per-spk, Kaldi's lines end in a space
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize(("option", "ids"), [("--utt-list", "joe-03 x\nann-00\n"), ("--spk-list", "joe\nbob\n")])
def test_kaldi_takes_lists_alike(kaldi, tmp_path, option, ids):
    source = make_data_dir(tmp_path / "source", project_files=False)
    (tmp_path / "list").write_text(ids)
    assert tool("subset_data_dir.sh", option, tmp_path / "list", source, tmp_path / "ours").returncode == 0
    assert kaldi("subset_data_dir.sh", option, tmp_path / "list", source, tmp_path / "theirs").returncode == 0
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize(("name", "table"), [("utt2spk_to_spk2utt", "utt2spk"), ("spk2utt_to_utt2spk", "spk2utt")])
def test_kaldi_converts_alike(kaldi, data_dir, name, table):
    lines = read(data_dir / table)
    random.Random(1).shuffle(lines)
    write(data_dir / table, lines)
    assert tool(f"{name}.pl", data_dir / table).stdout == kaldi(f"{name}.pl", data_dir / table).stdout != b""


@pytest.mark.parametrize("name", ["utt2spk", "text", "wav.scp", "utt2dur"])
@pytest.mark.parametrize("change", ["shuffle", "drop", "repeat"])
def test_kaldi_fixes_alike(kaldi, tmp_path, name, change):
    for folder in ("ours", "theirs"):
        data = make_data_dir(tmp_path / folder, project_files=False)
        lines = read(data / name)
        if change == "shuffle":
            random.Random(1).shuffle(lines)
        elif change == "drop":
            del lines[5:8]
        else:
            repeat(lines)
        write(data / name, lines)
    assert validate_data_dir(tmp_path / "ours", require_feats=False)
    assert tool("fix_data_dir.sh", tmp_path / "ours").returncode == 0
    assert kaldi("fix_data_dir.sh", tmp_path / "theirs").returncode == 0
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize("options", [[], ["--exclude"], ["-f", "2"], ["--exclude", "-f", "2"]])
def test_kaldi_filters_alike(kaldi, data_dir, tmp_path, options):
    ids = tmp_path / "ids"
    ids.write_text("joe\nann-03\nann-01 more\nbob\n")
    ours = tool("filter_scp.pl", *options, ids, data_dir / "utt2spk").stdout
    assert ours == kaldi("filter_scp.pl", *options, ids, data_dir / "utt2spk").stdout != b""


def make_source(data_dir):
    """A data directory with the tables that Kaldi's tools rename, and only these."""
    make_data_dir(data_dir, project_files=False)
    (data_dir / "text").write_bytes((data_dir / "text").read_bytes().replace("Ä".encode(), b"A"))
    wav_scp = read(data_dir / "wav.scp")
    wav_scp = [line.replace(b"of mine/", b"").replace(b".flac", b".wav") for line in wav_scp]
    wav_scp[1] += b" sph2pipe |"
    wav_scp[2] = wav_scp[2].split()[0] + b" /corpus/wav.ark:123"
    write(data_dir / "wav.scp", wav_scp)
    utts = [line.split()[0] for line in wav_scp]
    write(data_dir / "spk2gender", [line.split()[0] + b" f" for line in read(data_dir / "spk2utt")])
    write(data_dir / "utt2lang", [utt + b" en" for utt in utts])
    shutil.copy(data_dir / "utt2dur", data_dir / "reco2dur")
    for table in data_dir.iterdir():  # in a locale that is called C.utf8 Kaldi's tools take no other letters
        table.write_bytes(table.read_bytes().replace("é".encode(), b"z"))
    return data_dir


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize(
    "options", [[], ["--utt-prefix", "1-", "--spk-prefix", "1-"], ["--utt-suffix", "-x"], ["--spk-suffix", "-y"]]
)
def test_kaldi_copies_alike(kaldi, tmp_path, options, with_segments):
    source = make_source(tmp_path / "source")
    if with_segments:
        add_segments(source)
    ours = tool("copy_data_dir.sh", *options, source, tmp_path / "ours")
    theirs = kaldi("copy_data_dir.sh", *options, source, tmp_path / "theirs")
    assert (ours.returncode, theirs.returncode) == (0, 0), theirs.stdout
    set_aside = tmp_path / "theirs" / ".backup" / "utt2uniq"
    if set_aside.exists():  # Kaldi's makes it, and takes it for a leftover then
        set_aside.rename(tmp_path / "theirs" / "utt2uniq")
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize("with_segments", [(), (0,), (0, 1)])
@pytest.mark.parametrize("lacking", [None, "text", "utt2dur"])
def test_kaldi_combines_alike(kaldi, tmp_path, with_segments, lacking):
    sources = [make_source(tmp_path / name) for name in ("one", "two")]
    for index in with_segments:
        add_segments(sources[index])
    renamed = tmp_path / "renamed"
    assert tool("copy_data_dir.sh", "--utt-prefix", "c-", "--spk-prefix", "c-", sources[1], renamed).returncode == 0
    if 0 in with_segments and 1 in with_segments:
        for name in ("wav.scp", "reco2dur"):
            shutil.copy(sources[0] / name, renamed / name)
    if lacking and not (lacking == "utt2dur" and with_segments == (0,)):
        (renamed / lacking).unlink()
    assert tool("combine_data.sh", tmp_path / "ours", sources[0], renamed).returncode == 0
    result = kaldi("combine_data.sh", tmp_path / "theirs", sources[0], renamed)
    assert result.returncode == 0, result.stdout
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("options", [[], ["--include-spk-prefix", "false"]])
@pytest.mark.parametrize("factor", ["0.9", "1.1"])
def test_kaldi_perturbs_speed_alike(kaldi, sox, tmp_path, factor, options, with_segments):
    source = make_source(tmp_path / "source")
    if with_segments:
        add_segments(source)
    ours = tool("perturb_data_dir_speed.sh", *options, factor, source, tmp_path / "ours")
    theirs = kaldi("perturb_data_dir_speed.sh", *options, factor, source, tmp_path / "theirs")
    assert (ours.returncode, theirs.returncode) == (0, 0), ours.stderr + theirs.stdout
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize("name", ["utt2dur", "utt2num_frames"])
@pytest.mark.parametrize("source", ["segments", "frames", "durations"])
def test_kaldi_measures_alike(kaldi, tmp_path, source, name):
    for folder in ("ours", "theirs"):
        data = make_source(tmp_path / folder)
        if source == "frames":
            (data / "frame_shift").write_text("0.02\n")
            write(data / "utt2num_frames", [line.replace(b".25", b"01") for line in read(data / "utt2dur")])
        if source == "segments":
            add_segments(data)
        if source != "durations":
            (data / "utt2dur").unlink()
    assert tool(f"data/get_{name}.sh", tmp_path / "ours").returncode == 0
    result = kaldi(f"data/get_{name}.sh", tmp_path / "theirs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
