"""The aggregator made of Whisper's decoder is that decoder, and says which models and tokens it cannot use."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from whisper.model import ModelDimensions, Whisper, disable_sdpa

from taste.dataset import UnitDataset
from taste.errors import RecipeError
from taste.files import write_json
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.model.speech import AGGREGATORS
from taste.model.whisper_aggregator import PREFIX, WhisperAttentionAggregator, WhisperDecoder
from taste.training.distributed import Processes
from taste.training.finding import find_once
from taste.training.initialization import initialize
from taste.training.loop import train
from taste.training.optimization import make_optimizer
from tests.helpers import losses, make_data_dir, make_sets, model_config, open_sets, tiny_config

ATTENTION = [f"speech.aggregator.{part}" for part in ("token_embedding", "positional_embedding", "blocks")]


def make_whisper(n_vocab: int = 51865, width: int = 12, blocks: int = 3) -> Whisper:
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 60, width, 2, 1, n_vocab, 448, width, 2, blocks)).eval()
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.1)
    return model


def make_aggregator(blocks: int, kind: str = "whisper") -> WhisperDecoder:
    values = "deep" if kind == "whisper" else "shallow"
    config = model_config(aggregator=kind, aggregator_layers=blocks, text_token_size=51866, value_layers=[values])
    return AGGREGATORS[kind](config).eval()


def test_with_whispers_own_values_it_is_whispers_decoder():
    whisper, aggregator = make_whisper(), make_aggregator(3)
    aggregator.load_decoder(whisper.state_dict(), "base")
    assert aggregator.prefix.tolist() == [50258, 50259, 50359, 50363]  # start, English, transcribe, no timestamps
    for read, block in zip(aggregator.read, whisper.decoder.blocks, strict=True):
        torch.testing.assert_close(read.weight, torch.eye(12))
        read.load_state_dict({"weight": block.cross_attn.value.weight})
        torch.nn.init.zeros_(block.cross_attn.value.bias)
    token, deep = torch.randint(50000, (2, 6)), torch.randn(2, 30, 12)
    deep = torch.nn.functional.layer_norm(deep, (12,))  # which a second norm leaves as it is
    with torch.no_grad():
        z, attention = aggregator(None, token, torch.tensor([6, 6]), {"deep": deep}, torch.tensor([30, 30]))
        logits = whisper.decoder(torch.cat((aggregator.prefix.expand(2, -1), token), 1), deep)[:, PREFIX:]
    torch.testing.assert_close(z @ whisper.decoder.token_embedding.weight.T, logits, atol=1e-5, rtol=1e-4)
    assert attention.shape == (2, 3 * 2, 6, 30)


def test_its_attention_alone_is_whispers_whatever_the_values():
    whisper, aggregator = make_whisper(), make_aggregator(3, kind="whisper_attention")
    aggregator.load_decoder(whisper.state_dict(), "base")
    aggregator.head.fill_(1)
    token, deep, shallow = torch.randint(50000, (1, 6)), torch.randn(1, 30, 12), torch.randn(1, 30, 12)
    expected = []
    last = whisper.decoder.blocks[-1]
    last.cross_attn.register_forward_hook(lambda _module, _inputs, output: expected.append(output[1].softmax(-1)))
    with torch.no_grad(), disable_sdpa():
        whisper.decoder(torch.cat((aggregator.prefix[None], token), 1), deep)
        layers = {"deep": deep, "shallow": shallow}
        z, attention = aggregator(None, token, torch.tensor([6]), layers, torch.tensor([30]))
    torch.testing.assert_close(attention[:, 0], expected[0][:, 1, PREFIX:], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(z, attention[:, 0] @ torch.nn.functional.layer_norm(shallow, (12,)))


def test_the_head_that_follows_the_text_is_chosen(monkeypatch):
    aggregator = make_aggregator(1, kind="whisper_attention")
    attention = torch.rand(2, 2, 5, 40).softmax(-1)
    attention[:, 1] = torch.eye(40)[[3, 9, 15, 30, 37]]  # straight on
    monkeypatch.setattr(aggregator, "attention", lambda *_: attention)
    length = torch.tensor([5, 4])
    batch = Batch(["a", "b"], torch.zeros(2, 5), length, None, None, None, {"deep": torch.zeros(2, 40, 12)}, length)
    aggregator.choose_head([batch])
    assert aggregator.head == 1


def test_large_v3s_prefix_is_its_own():
    aggregator = make_aggregator(1)
    aggregator.load_decoder(make_whisper(51866).state_dict(), "large-v3")
    assert aggregator.prefix.tolist() == [50258, 50259, 50360, 50364]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"n_vocab": 51864}, "tiny.en is English only"),
        ({"width": 16}, "blocks of width 16"),
        ({"blocks": 1}, "has 1 blocks"),
    ],
)
def test_decoders_that_do_not_fit_are_refused(model, message):
    with pytest.raises(RecipeError, match=message):
        make_aggregator(2).load_decoder(make_whisper(**model).state_dict(), "tiny.en")


@pytest.mark.parametrize("speech_of", ["itself", "another"])
def test_what_a_fixed_attention_finds_is_the_same_in_every_epoch(tmp_path, monkeypatch, speech_of):
    """With it, training goes as it does where all layers are read again and again; a damaged utterance is left out."""
    data = make_sets(tmp_path / "data", 30)
    damaged = (data / "train/feats_deep.scp").read_text().splitlines()[3].split()
    Path(data / "train/feats_deep.scp").write_text(
        (data / "train/feats_deep.scp").read_text().replace(damaged[1], str(tmp_path / "missing.ark:0"))
    )
    monkeypatch.setattr("taste.training.initialization.load_whisper", lambda *_: make_whisper())
    sizes = {"text_token_size": 51866, "speech_of": speech_of, "pooling": "word"}
    config = tiny_config("whisper_attention", sizes, frozen=ATTENTION)
    found, reads = [], UnitDataset.with_found
    monkeypatch.setattr(UnitDataset, "with_found", lambda *given: found.append(given) or reads(*given))
    for system in ("once", "again"):
        train(config, *open_sets(data, config), tmp_path / system, None, "cpu", tmp_path)
        monkeypatch.setattr(WhisperAttentionAggregator, "finds_the_same", False)
    assert [dataset.data_dir.name for dataset, _ in found] == ["train", "dev"]
    assert losses(tmp_path / "once") == pytest.approx(losses(tmp_path / "again"), rel=1e-5)
    assert not (tmp_path / "once/found").exists()


def test_an_attention_that_is_trained_is_not_taken_from_archives():
    config = tiny_config("whisper_attention", frozen=["speech.aggregator.token_embedding"])
    model = JointModel(config.model)
    make_optimizer(model, config.train)
    assert not model.speech.aggregator.finds_the_same


def test_several_processes_find_their_share_each(tmp_path):
    dataset, _ = open_sets(make_sets(tmp_path, 20), tiny_config("whisper_attention"))
    config = tiny_config("whisper_attention", {"text_token_size": 51866}, frozen=ATTENTION)
    model, barrier = JointModel(config.model), threading.Barrier(2, timeout=60)
    make_optimizer(model, config.train)

    class Threads(Processes):
        def gather(self, value):
            barrier.wait()
            return [value] * self.count

    def find(rank, group=Threads, count=2):
        folder = tmp_path / f"of {count}"
        return find_once(model, [dataset], 40, torch.float32, folder, group(rank, count, torch.device("cpu")))[0]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(find, range(2))
    alone = find(0, Processes, 1)
    parts = [len((tmp_path / f"of 2/found/0/{rank}.scp").read_text().splitlines()) for rank in range(2)]
    assert min(parts) > 0 and sum(parts) == 20
    everything = list(range(20))
    torch.testing.assert_close(first[everything].found, alone[everything].found)
    torch.testing.assert_close(second[everything].found, alone[everything].found)


def test_other_text_tokens_are_refused(tmp_path):
    for name in ("train", "dev"):
        make_data_dir(tmp_path / name, 10)
        write_json(tmp_path / name / "tokens.json", {"token_type": "sentencepiece", "vocab_size": 50})
    config = tiny_config("whisper")
    train_set, _ = open_sets(tmp_path, config)
    with pytest.raises(RecipeError, match=r"reads Whisper's own text tokens.*sentencepiece"):
        initialize(JointModel(config.model), None, train_set, tmp_path)
