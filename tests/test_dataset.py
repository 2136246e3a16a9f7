"""Batches of a data directory, and what damaged directories get."""

import multiprocessing
import re
from pathlib import Path

import pytest

from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.files import write_json
from taste.tables import read_int_table, read_table, write_table
from tests.helpers import make_data_dir, model_config

TASTE = model_config(aggregator="attention")


@pytest.fixture
def data_dir(tmp_path):
    make_data_dir(tmp_path / "data", 20)
    return tmp_path / "data"


def rewrite(path, change):
    table = read_table(path)
    change(table)
    write_table(path, table)


def test_batch_holds_what_the_tables_hold(data_dir):
    dataset = UnitDataset(data_dir, TASTE)
    batch = next(dataset.load([[3, 0]]))
    units, tokens = read_int_table(data_dir / "utt2s3"), read_int_table(data_dir / "utt2token")
    for i, utt in enumerate(batch.utts):
        assert batch.unit[i, : batch.unit_length[i]].tolist() == units[utt]
        assert batch.text_token[i, : batch.text_length[i]].tolist() == tokens[utt]
        assert batch.frames[i] == 4 * len(tokens[utt])
        assert not batch.layers["deep"][i, batch.frames[i] :].any()
    assert batch.utts == [dataset.utts[3], dataset.utts[0]]


def test_every_epoch_has_all_utterances_once_in_another_order(data_dir):
    dataset = UnitDataset(data_dir, TASTE)
    first, again, second = (dataset.batches(40, seed=5, epoch=epoch) for epoch in (1, 1, 2))
    assert first == again
    assert first != second
    for groups in (first, second, dataset.batches(40)):
        assert sorted(index for group in groups for index in group) == list(range(len(dataset)))
        assert all(max(dataset.lengths[group]) * len(group) <= 40 for group in groups)


def test_text_only_needs_no_features(data_dir):
    for name in ("feats_deep.scp", "feats_shallow.scp", "feats.json"):
        (data_dir / name).unlink()
    assert len(UnitDataset(data_dir, model_config())) == 20
    with pytest.raises(RecipeError, match="stage 4"):
        UnitDataset(data_dir, TASTE)


def test_utterances_missing_from_a_table_are_named_and_left_out(data_dir, caplog):
    utts = list(read_table(data_dir / "utt2s3"))
    rewrite(data_dir / "feats_deep.scp", lambda table: table.pop(utts[1]))
    rewrite(data_dir / "utt2s3", lambda table: table.pop(utts[2]))
    dataset = UnitDataset(data_dir, TASTE)
    assert set(utts) - set(dataset.utts) == {utts[1], utts[2]}
    assert utts[1] in caplog.text and "feats_deep.scp" in caplog.text and utts[2] in caplog.text
    assert "2 of 20" in caplog.text


def test_units_outside_the_vocabulary_are_named(data_dir, caplog):
    utts = list(read_table(data_dir / "utt2s3"))
    rewrite(data_dir / "utt2s3", lambda table: table.update({utts[4]: "1 12", utts[5]: "1 x"}))
    assert not {utts[4], utts[5]} & set(UnitDataset(data_dir, TASTE).utts)
    assert f"{utts[4]} " in caplog.text and "unit 12" in caplog.text and utts[5] in caplog.text


def test_a_cut_archive_costs_only_its_utterances(data_dir, caplog):
    locations = read_table(data_dir / "feats_deep.scp")
    last = max(locations, key=lambda utt: int(locations[utt].rpartition(":")[2]))
    archive = data_dir / "deep.ark"
    archive.write_bytes(archive.read_bytes()[:-40])
    dataset = UnitDataset(data_dir, TASTE)
    for _ in range(2):
        loaded = [utt for batch in dataset.load(dataset.batches(60)) for utt in batch.utts]
        assert set(dataset.utts) - set(loaded) == {last}
    assert caplog.text.count(last) == 1 and "deep.ark" in caplog.text


def test_sizes_that_the_model_cannot_take_are_refused(data_dir):
    write_json(data_dir / "spk_emb.json", {"dim": 192})
    with pytest.raises(RecipeError, match=r"spk_emb\.json.*192.*spk_embed_dim is 6"):
        UnitDataset(data_dir, TASTE)


def test_nothing_left_is_an_error(data_dir):
    write_table(data_dir / "utt2token", {"other": "1"})
    with pytest.raises(RecipeError, match="none of the"):
        UnitDataset(data_dir, TASTE)


def test_unsorted_tables_are_refused_with_the_line(data_dir):
    lines = (data_dir / "utt2s3").read_text().splitlines(keepends=True)
    (data_dir / "utt2s3").write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(RecipeError, match=r"utt2s3:2: .*fix_data_dir"):
        UnitDataset(data_dir, TASTE)


def resident_bytes():
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def memory_for(data_dir, answer):
    """Send how much memory it takes to open a data directory and to read an epoch's first hundred batches."""
    before = resident_bytes()
    dataset = UnitDataset(data_dir, TASTE)
    for batch in dataset.batches(100, seed=1)[:100]:
        assert dataset[batch].utts
    answer.put((len(dataset), resident_bytes() - before))


def test_memory_does_not_grow_with_the_corpus(data_dir):
    """100,000 utterances, all of them the same twenty under other names, against a thousand."""
    context, used = multiprocessing.get_context("fork"), {}
    for copies in (50, 5000):
        target = data_dir.parent / f"{copies}"
        target.mkdir()
        for path in data_dir.glob("*.json"):
            (target / path.name).write_bytes(path.read_bytes())
        for name in ("utt2s3", "utt2token", "feats_deep.scp", "feats_shallow.scp", "spk_emb.scp"):
            lines = (data_dir / name).read_text().splitlines()
            copied = (
                f"{utt}-{copy:04d} {value}"
                for utt, value in (line.split(" ", 1) for line in lines)
                for copy in range(copies)
            )
            (target / name).write_text("\n".join(copied) + "\n")
        answer = context.Queue()
        process = context.Process(target=memory_for, args=(target, answer))
        process.start()
        utts, used[copies] = answer.get(timeout=120)
        process.join()
        assert utts == 20 * copies
    # 64 bytes an utterance are 6.4 MB; a table of all lines in memory would be fifty
    assert used[5000] - used[50] < 25e6


def test_a_transcript_that_whispers_decoder_does_not_take_is_named(data_dir, caplog):
    long = min(read_table(data_dir / "utt2token"))
    rewrite(data_dir / "utt2token", lambda table: table.update({long: " ".join(["7"] * 445)}))
    config = model_config(aggregator="whisper")
    dataset = UnitDataset(data_dir, config)
    read = [utt for batch in dataset.load(dataset.batches(100)) for utt in batch.utts]
    assert set(read) == set(dataset.utts) - {long}
    assert long in caplog.text and "445 text tokens; Whisper's decoder takes 444" in caplog.text
