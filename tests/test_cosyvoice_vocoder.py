"""The vocoder of CosyVoice-300M: upstream's networks at their own sizes, with random weights."""

import importlib.machinery
import sys

import pytest
import torch

from taste import model_folder
from taste.errors import RecipeError
from taste.files import write_json
from taste.model_folder import load_packed_vocoder
from taste.unit2wav import cosyvoice
from taste.unit2wav.cosyvoice import SPEAKER_DIM, CosyvoiceVocoder, build_flow, build_hift, load_cosyvoice_vocoder
from taste.units.cosyvoice import units_record

FRAME = 256 / 22050  # s
INSTALL = "needs requirements-cosyvoice-vocoder.txt and pip install --no-deps cosyvoice-minicpmo==0.1.0"


@pytest.fixture(scope="module")
def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            return build_flow(), build_hift()
        except ModuleNotFoundError as error:
            if "." in error.name:  # a part of a package that is there: what is built, or what builds it, has changed
                raise
            pytest.skip(f"{INSTALL} ({error})")


@pytest.fixture(scope="module")
def folder(networks, tmp_path_factory):
    """`flow.pt` as upstream's training leaves it, and `hift.pt` with the names of that training and older torch."""
    folder = tmp_path_factory.mktemp("CosyVoice-300M")
    flow, hift = networks
    torch.save({**flow.state_dict(), "epoch": 3, "step": 100}, folder / "flow.pt")
    weights = {}
    for name, tensor in hift.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        weights["generator." + name.replace("parametrizations.weight.original1", "weight_v")] = tensor
    torch.save(weights, folder / "hift.pt")
    return folder


@pytest.fixture(scope="module")
def vocoder(folder):
    return load_cosyvoice_vocoder(folder, seed=1)


def make_units(length, seed=0):
    return torch.randint(0, 4096, (length,), generator=torch.Generator().manual_seed(seed))


def make_embeddings(batch, dim=SPEAKER_DIM):
    return torch.randn(batch, dim, generator=torch.Generator().manual_seed(0))


def test_weights_are_those_of_the_files(networks, vocoder):
    for network, loaded, millions in zip(networks, (vocoder.flow, vocoder.hift), (104.9, 20.5), strict=True):
        assert round(sum(weight.numel() for weight in loaded.parameters()) / 1e6, 1) == millions
        assert not loaded.training
        expected = network.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("length", [1, 8, 45])  # beyond 40 units upstream stretches both ends apart from the middle
def test_the_waveform_lasts_as_long_as_its_units(vocoder, length):
    (waveform,) = vocoder([make_units(length)], make_embeddings(1))
    assert waveform.dtype == torch.float32 and waveform.ndim == 1
    assert waveform.abs().max() <= 1 and waveform.std() > 0
    assert len(waveform) / vocoder.sample_rate == pytest.approx(length / 50, abs=FRAME)


def test_a_batch_gives_what_each_utterance_gives_alone(vocoder):
    units, embeddings = [make_units(8), make_units(5, seed=1)], make_embeddings(2)
    together = vocoder(units, embeddings)
    alone = [vocoder([row], embedding[None])[0] for row, embedding in zip(units, embeddings, strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    other_voice = vocoder(units[:1], embeddings[1:])[0]
    assert not torch.allclose(other_voice, together[0], atol=1e-3)


def test_the_seed_decides_and_others_random_numbers_stay(networks, vocoder):
    units, embeddings = [make_units(6)], make_embeddings(1)
    state = torch.random.get_rng_state()
    (first,) = vocoder(units, embeddings)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(vocoder(units, embeddings)[0], first)
    assert not torch.allclose(CosyvoiceVocoder(*networks, "random", seed=2)(units, embeddings)[0], first, atol=1e-3)


def test_samples_are_those_of_upstreams_own_inference(vocoder):
    from cosyvoice.cli.model import CosyVoiceModel

    model = CosyVoiceModel(None, vocoder.flow, vocoder.hift)
    model.device = torch.device("cpu")
    units, embeddings = make_units(45), make_embeddings(1)
    with torch.random.fork_rng():
        torch.manual_seed(vocoder.seed)
        (output,) = model.tts(source_speech_token=units[None], flow_embedding=embeddings)
    assert torch.equal(vocoder([units], embeddings)[0], output["tts_speech"][0])


def test_units_and_embeddings_of_others_are_refused(vocoder):
    with pytest.raises(RecipeError, match=r"256 dimensions.* stage 6 with --spk_backend campplus"):
        vocoder([make_units(3)], make_embeddings(1, dim=256))
    for beyond in (4096, -1):
        with pytest.raises(RecipeError, match=f"unit {beyond} lies outside 0 to 4095"):
            vocoder([torch.tensor([0, beyond])], make_embeddings(1))


def test_an_utterance_without_units_has_no_samples(vocoder):
    empty, other = vocoder([make_units(0), make_units(2)], make_embeddings(2))
    assert empty.shape == (0,) and len(other)


def test_only_units_of_its_own_tokenizer_are_taken():
    vocoder = CosyvoiceVocoder(torch.nn.Identity(), torch.nn.Identity(), "none")
    for digest in ("0" * 64, None):
        vocoder.check_units(units_record(digest), "data/test")
    kmeans = {"backend": "kmeans", "model": "tiny.en", "layer": "3", "K": 200, "rate": 25}
    for name, record in (
        ("backend", kmeans), ("rate", {**units_record(None), "rate": 25}), ("K", units_record(None, K=6561)),
        ("model", {**units_record(None), "model": "speech_tokenizer_v2"}),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=rf"data/test/units\.json: {name} is {record[name]}, but .*stage 5"):
            vocoder.check_units(record, "data/test/units.json")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"flow\.pt does not exist; stage 3"):
        load_cosyvoice_vocoder(tmp_path)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "flow.pt")
    with pytest.raises(RecipeError, match=r"hift\.pt does not exist; stage 3"):
        load_cosyvoice_vocoder(tmp_path)
    (tmp_path / "hift.pt").write_bytes((tmp_path / "flow.pt").read_bytes()[:300])
    with pytest.raises(RecipeError, match=r"hift\.pt is damaged"):
        load_cosyvoice_vocoder(tmp_path)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    (tmp_path / "hift.pt").symlink_to(folder / "hift.pt")
    (tmp_path / "flow.pt").symlink_to(folder / "hift.pt")
    with pytest.raises(RecipeError, match=r"flow\.pt lacks 1185 parameters, first input_embedding\.weight"):
        load_cosyvoice_vocoder(tmp_path)


@pytest.fixture
def two_files(tmp_path):
    """A folder with files that torch reads, which hold no weights of use."""
    for name in ("flow.pt", "hift.pt"):
        torch.save({"weight": torch.zeros(3)}, tmp_path / name)
    return tmp_path


def test_a_missing_package_names_the_requirements(two_files, monkeypatch):
    monkeypatch.setitem(sys.modules, "cosyvoice.flow.decoder", None)
    with pytest.raises(RecipeError, match=r"pip install -r requirements-cosyvoice-vocoder\.txt"):
        load_cosyvoice_vocoder(two_files)


def test_a_package_that_is_too_old_is_refused(two_files, monkeypatch):
    old = torch.nn.utils.weight_norm(torch.nn.Conv1d(1, 1, 1))
    monkeypatch.setattr(cosyvoice, "build_flow", torch.nn.Identity)
    monkeypatch.setattr(cosyvoice, "build_hift", lambda: old)
    with pytest.raises(RecipeError, match="before January 2025"):
        load_cosyvoice_vocoder(two_files)


def test_a_checkout_goes_before_what_is_installed(two_files, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(cosyvoice, "build_flow", lambda: pytest.fail("the checkout should have been refused"))
    code = two_files / "my code"
    with pytest.raises(RecipeError, match="it has no folder cosyvoice"):
        load_cosyvoice_vocoder(two_files, code)
    (code / "cosyvoice").mkdir(parents=True)
    (code / "cosyvoice/__init__.py").touch()
    with pytest.raises(RecipeError, match="git submodule update"):
        load_cosyvoice_vocoder(two_files, code)
    matcha = code / "third_party/Matcha-TTS/matcha"
    matcha.mkdir(parents=True)
    (matcha / "__init__.py").touch()
    monkeypatch.setattr(cosyvoice, "build_flow", lambda: (_ for _ in ()).throw(ImportError("none here")))
    with pytest.raises(RecipeError, match="none here"):
        load_cosyvoice_vocoder(two_files, code)
    for name, path in (("cosyvoice", code / "cosyvoice"), ("matcha", matcha)):
        found = importlib.machinery.PathFinder.find_spec(name, sys.path)
        assert found.submodule_search_locations[0] == str(path.resolve())


def test_a_packed_system_speaks_with_a_checkout_too(two_files, tmp_path_factory, monkeypatch):
    system = tmp_path_factory.mktemp("taste_rvq")
    write_json(system / "vocoder.json", {"name": "cosyvoice", "weights_sha256": "of these"})
    monkeypatch.setattr(model_folder, "prepare_cosyvoice", lambda pretrained_dir: two_files)
    code = two_files / "my code"
    with pytest.raises(RecipeError, match=r"my code.*it has no folder cosyvoice"):
        load_packed_vocoder(system, two_files, torch.device("cpu"), code)
