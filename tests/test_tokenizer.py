"""Anyone's audio as TASTE tokens and back, with a tiny system on a few utterances of the shipped corpus."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from taste import __main__ as command_line
from taste.archives import as_stored
from taste.checkpoint import load_system
from taste.corpus.prepare_audio import prepare_audio
from taste.dataset import UnitDataset
from taste.editing.edits import shared_words
from taste.errors import RecipeError, UtteranceError, run_main
from taste.evaluation.free_running import speak
from taste.files import read_json, write_json
from taste.model.sampling import Sampling
from taste.model_card import write_model_card
from taste.model_folder import keep_sentencepiece, pack_vocoder
from taste.speaker.encoders import embed_data_dir, load_speaker_encoder
from taste.speech_tokens import SpeechTokens
from taste.tables import read_int_table, read_table, write_table
from taste.taste_tokens import tokenize
from taste.text.tokens import SentencePieceTokenizer, train_sentencepiece
from taste.text_and_features import FeatureOptions, write_text_and_features
from taste.token_formats import FORMATS, read_jsonl
from taste.tokenizer import TasteTokenizer
from taste.training.loop import train
from taste.unit2wav.griffinlim import GriffinLimVocoder
from taste.unit2wav.unit_to_mel_training import train_unit_to_mel
from tests.helpers import tiny_config
from tests.helpers_recipe import CORPUS

CPU = torch.device("cpu")
UNITS = {"backend": "kmeans", "model": "tiny.en", "layer": "3", "K": 12, "rate": 25}
SIZES = {"text_token_size": 51866, "encoder_dim": 384, "spk_embed_dim": 256, "key_layer": "last", "value_layers": ["2"]}
RVQ = {"quantizer": "rvq", "codebook_size": 16, "codebooks": 3, "dead_code_uses": 0.0}
RATES = {
    "lm": 0.01,
    "speech.affine": 0.1,
}  # what is aggregated and its codes stay as varied as random weights make them
GRIFFINLIM = "dim: 8\ndilations: [1]\nframe_dim: 8\nframe_dilations: [1]\nmax_hours: 1\nepochs: 1\nbatch_frames: 5000\n"


def sources(folder):
    """A few recordings of one voice: as they ship, and one as an mp3 of two channels at 8 kHz."""
    paths = sorted((CORPUS / "test/11/3").glob("*.opus"))[:5]
    texts = read_table(CORPUS / "test/11/3/11-3.trans.txt")
    found = {path.stem: (path, texts[path.stem]) for path in paths}
    samples, rate = soundfile.read(paths[0])
    mp3 = folder / "phone.mp3"
    half = samples[::2]
    soundfile.write(mp3, np.stack((half, 0.5 * half), 1), rate // 2, format="MP3")
    return {**found, "phone": (mp3, texts[paths[0].stem])}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pretrained_dir, tiny_en):
    """A folder with `data/train` after stages 2 to 6, systems with and without quantizer, and their vocoder."""
    root = tmp_path_factory.mktemp("tokenizer")
    data = root / "data/train"
    data.mkdir(parents=True)
    recordings = sources(root)
    write_table(data / "wav.scp", {utt: str(path) for utt, (path, _) in recordings.items()})
    write_table(data / "text", {utt: text for utt, (_, text) in recordings.items()})
    prepare_audio(data, root / "dump")
    seconds = {utt: soundfile.info(path).duration for utt, path in read_table(data / "wav.scp").items()}
    write_table(data / "utt2dur", {utt: str(value) for utt, value in seconds.items()})
    options = FeatureOptions(
        "tiny.en", str(pretrained_dir), ["2", "last"], "last", "2", "compressed", False, "float32", "cpu", 60,
        "whisper", None, False,
    )  # fmt: skip
    write_text_and_features(data, root / "dump", options)
    random = np.random.default_rng(0)
    units = {utt: random.integers(0, UNITS["K"], int(value * UNITS["rate"])) for utt, value in seconds.items()}
    write_table(data / "utt2s3", {utt: " ".join(map(str, row)) for utt, row in units.items()})
    write_json(data / "units.json", UNITS)
    embed_data_dir(data, root / "dump/spk_emb.ark", load_speaker_encoder("resemblyzer", pretrained_dir, None))
    for name, sizes in (
        ("taste", {}),
        ("taste_rvq", {**RVQ, "pooling": "word"}),
    ):
        config = tiny_config("attention", {**SIZES, **sizes}, epochs=2, learning_rates=RATES)
        dataset = UnitDataset(data, config.model)
        train(config, dataset, dataset, root / "exp" / name, None, "cpu")
    train(tiny_config("none", SIZES, epochs=1), dataset, dataset, root / "exp/text_only", None, "cpu")
    (root / "griffinlim.yaml").write_text(GRIFFINLIM + "learning_rate: 0.01\nseed: 1\n")
    train_unit_to_mel(data, data, root / "exp/griffinlim", root / "griffinlim.yaml", CPU)
    vocoder = GriffinLimVocoder(root / "exp/griffinlim", CPU)
    for name in ("text_only", "taste", "taste_rvq"):
        pack_vocoder(root / "exp" / name, vocoder, root / "exp/griffinlim")
    return root


@pytest.fixture(scope="module")
def tokenizer(recipe, pretrained_dir):
    return TasteTokenizer.from_exp(recipe / "exp/taste_rvq", pretrained_dir)


@pytest.fixture(scope="module")
def encoded(recipe, tokenizer):
    """All recordings as tokens, from the files that stage 2 was given."""
    return {utt: tokenizer.encode(path, text, utt) for utt, (path, text) in sources(recipe).items()}


def cli(monkeypatch, *arguments):
    """Run `python -m taste` in this process; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["taste/__main__.py", *map(str, arguments)])
    try:
        run_main(command_line.main, failure=2)
    except SystemExit as error:
        return error.code
    return 0


def test_codes_are_those_that_the_recipe_writes(recipe, tokenizer, encoded):
    config, model = load_system(recipe / "exp/taste_rvq", CPU)
    expected = tokenize(model, UnitDataset(recipe / "data/train", config.model), 400, CPU)
    assert set(expected) == set(encoded)
    assert len(np.unique(np.concatenate(list(expected.values())), axis=0)) > 20
    ids = read_int_table(recipe / "data/train/utt2token")
    for utt, tokens in encoded.items():
        np.testing.assert_array_equal(tokens.codes, expected[utt])
        assert tokens.ids.tolist() == ids[utt]


def test_embeddings_of_a_system_without_quantizer_say_the_same_units_as_its_speech(recipe, pretrained_dir):
    tokenizer = TasteTokenizer.from_exp(recipe / "exp/taste", pretrained_dir)
    dataset = UnitDataset(recipe / "data/train", tokenizer.config.model)
    expected = speak(tokenizer.model, dataset, Sampling("top_p"), 1, 400, CPU)
    for utt, (path, text) in list(sources(recipe).items())[-2:]:
        tokens = tokenizer.encode(path, text, utt)
        assert tokens.codes is None and tokens.embeddings.shape == (len(tokens.ids), 16)
        assert tokenizer.units(tokens)[0].tolist() == expected[utt].units


def test_units_are_those_that_stage_10_samples(recipe, tokenizer, encoded):
    dataset = UnitDataset(recipe / "data/train", tokenizer.config.model)
    expected = speak(tokenizer.model, dataset, Sampling("top_p"), 1, 400, CPU)
    assert {utt: tokenizer.units(tokens)[0].tolist() for utt, tokens in encoded.items()} == {
        utt: each.units for utt, each in expected.items()
    }


def test_text_alone_can_be_said(recipe, pretrained_dir):
    tokenizer = TasteTokenizer.from_exp(recipe / "exp/text_only", pretrained_dir)
    path, text = sources(recipe)["11-3-0000"]
    tokens = tokenizer.encode(path, text)
    assert tokens.codes is None and tokens.embeddings is None
    assert len(tokenizer.decode(tokens)[0]) > 0


def test_tokens_stand_one_to_one_with_text_and_time(encoded):
    tokens = encoded["11-3-0000"]
    assert "".join(tokens.strings) == tokens.text == "my brother counted many yellow letters yesterday"
    assert len(tokens.ids) == len(tokens.codes) == len(tokens.times) == sum(tokens.word_tokens) == tokens.pieces[0]
    assert (np.diff(tokens.times, axis=1) >= 0).all() and (np.diff(tokens.word_times[:, 0]) > 0).all()
    line = read_table(CORPUS / "test/11/3/11-3.words.txt")["11-3-0000"].split()
    true = np.array(line[1::3], dtype=float)
    assert np.median(np.abs(tokens.word_times[:, 0] - true)) < 0.3


def test_the_same_tokens_sound_the_same_and_another_seed_otherwise(tokenizer, encoded):
    samples, rate = tokenizer.decode(encoded["11-3-0001"])
    again, _ = tokenizer.decode(encoded["11-3-0001"])
    assert rate == 16000 and samples.dtype == np.float32 and np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, again)
    assert (
        tokenizer.units(encoded["11-3-0001"], seed=2)[0].tolist() != tokenizer.units(encoded["11-3-0001"])[0].tolist()
    )


def test_a_moved_folder_works_without_the_data(recipe, pretrained_dir, tokenizer, encoded, tmp_path):
    moved = tmp_path / "elsewhere/my model"
    shutil.copytree(recipe / "exp/taste_rvq", moved)
    path = shutil.copy(sources(recipe)["phone"][0], tmp_path)
    expected = tokenizer.decode(encoded["phone"])[0]
    away = recipe.with_name(f"{recipe.name}-away")
    recipe.rename(away)
    try:
        other = TasteTokenizer.from_exp(moved, pretrained_dir)
        tokens = other.encode(path, encoded["phone"].text)
        np.testing.assert_array_equal(tokens.codes, encoded["phone"].codes)
        np.testing.assert_array_equal(other.decode(tokens)[0], expected)
    finally:
        away.rename(recipe)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", None), ("flac", None), ("ogg", "VORBIS"), ("opus", "OPUS")])
def test_sound_files_of_many_kinds(recipe, tokenizer, tmp_path, suffix, subtype):
    path, text = sources(recipe)["11-3-0000"]
    samples, rate = soundfile.read(path)
    file = tmp_path / f"speech.{suffix}"
    soundfile.write(file, samples, rate, format="OGG" if subtype else suffix.upper(), subtype=subtype)
    tokens = tokenizer.encode(file, text)
    assert tokens.utt == "speech" and tokens.codes.shape == (7, 3)
    if not subtype:  # nothing is lost
        own = tokenizer.encode((samples.astype(np.float32), rate), text)
        np.testing.assert_array_equal(tokens.codes, own.codes)


def test_whisper_transcribes_where_no_text_is_given(recipe, tokenizer):
    tokens = tokenizer.encode(CORPUS / "test/12/3/12-3-0015.opus")
    assert {"doctor", "seven", "beautiful", "letters"} & set(tokens.words)
    assert not any(c.isdigit() for c in tokens.text)


def test_long_audio_is_one_result_with_times_that_run_on(tokenizer):
    paths = sorted((CORPUS / "test/12/3").glob("*.opus"))[:9]
    speech = [soundfile.read(path, dtype="float32")[0] for path in paths]
    rate = soundfile.info(paths[0]).samplerate
    samples = np.concatenate([np.concatenate((each, np.zeros(rate // 2, np.float32))) for each in speech])
    assert len(samples) > 31 * rate
    tokens = tokenizer.encode((samples, rate))
    assert len(tokens.pieces) >= 2 and sum(tokens.pieces) == len(tokens.ids) == len(tokens.codes)
    assert (np.diff(tokens.times[:, 0]) >= 0).all()
    assert tokens.times[-1, 1] > 30 and tokens.times[-1, 1] <= len(samples) / rate
    assert len(tokenizer.units(tokens)) == len(tokens.pieces)
    assert len(tokenizer.decode(tokens)[0]) > 0


@pytest.mark.parametrize("storage", ["float32", "float16", "compressed"])
def test_features_are_rounded_as_archives_round_them(storage):
    matrix = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    assert (np.abs(as_stored(matrix, storage) - matrix).max() == 0) == (storage == "float32")
    np.testing.assert_allclose(as_stored(matrix, storage), matrix, atol=0.02)


def test_a_line_of_json_holds_all_that_is_needed(tokenizer, encoded):
    tokens = encoded["phone"]
    again = SpeechTokens.from_record(json.loads(json.dumps(tokens.record())), "here")
    np.testing.assert_array_equal(again.codes, tokens.codes)
    np.testing.assert_allclose(again.times, tokens.times, atol=0.001)
    np.testing.assert_array_equal(tokenizer.decode(again)[0], tokenizer.decode(tokens)[0])
    with pytest.raises(RecipeError, match="here is no line"):
        SpeechTokens.from_record({"utt": "a"}, "here")


def test_kaldi_tables_and_numpy_archives(recipe, tokenizer, encoded, tmp_path):
    sizes = tokenizer.model.speech.quantizer.sizes
    FORMATS["kaldi"](tmp_path / "kaldi", list(encoded.values()), recipe / "exp/taste_rvq", sizes)
    config = tokenizer.config.model
    for name in ("utt2s3", "units.json", "spk_emb.scp", "spk_emb.json", "tokens.json"):
        shutil.copy(recipe / "data/train" / name, tmp_path / "kaldi")
    dataset = UnitDataset(tmp_path / "kaldi", config, tmp_path / "kaldi/utt2taste")  # as evaluate.py --from_tokens
    batch = dataset[[0]]
    np.testing.assert_array_equal(batch.code[0].numpy(), encoded[batch.utts[0]].codes)
    assert read_table(tmp_path / "kaldi/utt2words")["phone"].split()[0::3] == encoded["phone"].words
    FORMATS["npz"](tmp_path / "npz", [encoded["phone"]], recipe / "exp/taste_rvq", sizes)
    with np.load(tmp_path / "npz/phone.npz") as arrays:
        np.testing.assert_array_equal(arrays["codes"], encoded["phone"].codes)
        assert arrays["strings"].tolist() == encoded["phone"].strings


def test_edits_exchange_the_tokens_of_the_words_and_no_others(tokenizer, encoded):
    own, donor = encoded["11-3-0000"], encoded["11-3-0003"]
    (at, its), *_ = [pair for pair in shared_words(own.words, donor.words) if own.words[pair[0]] == "yellow"]
    edited = own.with_words_of(donor, ["Yellow"])
    ends, its_ends = np.cumsum(own.word_tokens), np.cumsum(donor.word_tokens)
    start, its_start = ends[at] - own.word_tokens[at], its_ends[its] - donor.word_tokens[its]
    np.testing.assert_array_equal(edited.codes[start : ends[at]], donor.codes[its_start : its_ends[its]])
    untouched = np.delete(np.arange(len(own.ids)), np.s_[start : ends[at]])
    np.testing.assert_array_equal(edited.codes[untouched], own.codes[untouched])
    with pytest.raises(UtteranceError, match="'elephant' is not said in both"):
        own.with_words_of(donor, ["elephant"])


def test_commands_write_what_they_say(recipe, pretrained_dir, encoded, tmp_path, monkeypatch, capsys):
    recordings = sources(recipe)
    shared = ["--model", recipe / "exp/taste_rvq", "--pretrained_dir", pretrained_dir]
    (a, text_a), (b, text_b) = recordings["11-3-0000"], recordings["11-3-0003"]
    assert cli(monkeypatch, "tokenize", a, "--text", text_a, *shared) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [token["codes"] for token in printed["tokens"]] == encoded["11-3-0000"].codes.tolist()
    jsonl = tmp_path / "tokens.jsonl"
    assert cli(monkeypatch, "tokenize", a, b, "--text", text_a, text_b, *shared, "--out", jsonl) == 0
    assert [tokens.utt for tokens in read_jsonl(jsonl)] == ["11-3-0000", "11-3-0003"]
    assert cli(monkeypatch, "reconstruct", jsonl, *shared, "--out", tmp_path / "from_tokens") == 0
    assert cli(monkeypatch, "reconstruct", a, "--text", text_a, *shared, "--out", tmp_path / "from_audio") == 0
    wavs = [tmp_path / name / "11-3-0000.wav" for name in ("from_tokens", "from_audio")]
    assert wavs[0].read_bytes() == wavs[1].read_bytes()
    edit = ["edit", a, b, "--text", text_a, text_b, *shared, "--words", "yellow", "--out", tmp_path / "edited.wav"]
    assert cli(monkeypatch, *edit) == 0
    assert soundfile.info(tmp_path / "edited.wav").samplerate == 16000


def test_bad_input_is_one_sentence_and_status_2(recipe, pretrained_dir, tmp_path, monkeypatch, capsys):
    path, text = sources(recipe)["11-3-0000"]
    soundfile.write(tmp_path / "silence.wav", np.zeros(48000), 16000)
    soundfile.write(tmp_path / "long.wav", np.zeros(31 * 16000), 16000)
    soundfile.write(tmp_path / "click.wav", np.ones(100), 16000)
    (tmp_path / "note.wav").write_text("no audio")
    exp = recipe / "exp"
    other_units = tmp_path / "other_units"
    shutil.copytree(exp / "taste_rvq", other_units)
    trained = json.loads((other_units / "train.json").read_text())
    write_json(other_units / "train.json", {**trained, "units": {**UNITS, "rate": 50}})
    untold = tmp_path / "no_vocoder"
    shutil.copytree(exp / "taste_rvq", untold)
    (untold / "vocoder.json").unlink()
    cases = [
        (["tokenize", tmp_path / "silence.wav"], exp / "taste_rvq", "no speech was found"),
        (["tokenize", path, "--text", " "], exp / "taste_rvq", "the text is empty"),
        (["tokenize", path, "--text", "the wizard had vanished"], exp / "taste_rvq", "seems not to be what is said"),
        (["tokenize", tmp_path / "long.wav", "--text", text], exp / "taste_rvq", "lasts 31.0 s, too long"),
        (["tokenize", tmp_path / "click.wav"], exp / "taste_rvq", "0.02 s to 30 s"),
        (["tokenize", tmp_path / "note.wav"], exp / "taste_rvq", "cannot be read as audio"),
        (["tokenize", tmp_path / "none.wav"], exp / "taste_rvq", "none.wav does not exist"),
        (["tokenize", path, "--text", text, text], exp / "taste_rvq", "2 texts for 1 recordings"),
        (["tokenize", path, "--format", "npz"], exp / "taste_rvq", "--out"),
        (["tokenize", path, path], exp / "taste_rvq", "two recordings are named 11-3-0000"),
        (["tokenize", path], exp / "griffinlim", "best.safetensors does not exist; training"),
        (["tokenize", path], exp / "taste", "has no quantizer"),
        (["reconstruct", path, "--out", tmp_path / "out"], other_units, "rate"),
        (["reconstruct", path, "--out", tmp_path / "out"], untold, "stage 11"),
    ]
    for arguments, model, message in cases:
        status = cli(monkeypatch, *arguments, "--model", model, "--pretrained_dir", pretrained_dir)
        error = capsys.readouterr().err
        assert status == 2 and message in error, (arguments, error)
        assert "taste: error:" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_one_bad_recording_does_not_lose_the_others(recipe, pretrained_dir, tmp_path, monkeypatch, capsys):
    path, text = sources(recipe)["11-3-0000"]
    shared = ["--model", recipe / "exp/taste_rvq", "--pretrained_dir", pretrained_dir, "--out", tmp_path / "out.jsonl"]
    assert cli(monkeypatch, "tokenize", path, tmp_path / "none.wav", "--text", text, "x", *shared) == 2
    assert "1 of 2 recordings" in capsys.readouterr().err
    assert [tokens.utt for tokens in read_jsonl(tmp_path / "out.jsonl")] == ["11-3-0000"]


def test_a_text_of_something_else_is_refused(recipe, tokenizer, encoded):
    assert min(tokens.probability for tokens in encoded.values()) > 0.2
    path, _ = sources(recipe)["11-3-0000"]
    with pytest.raises(UtteranceError, match="the text seems not to be what is said"):
        tokenizer.encode(path, "he began a confused complaint against the wizard who had vanished")


@pytest.mark.parametrize(
    ("part", "key", "match"),
    [("feats", "weights_sha256", "Whisper tiny.en"), ("spk_emb", "sha256", "speaker encoder whose sha256")],
)
def test_other_public_weights_are_refused(recipe, pretrained_dir, tmp_path, part, key, match):
    shutil.copytree(recipe / "exp/taste_rvq", tmp_path / "system")
    trained = read_json(tmp_path / "system/train.json", "")
    trained[part][key] = "0"
    write_json(tmp_path / "system/train.json", trained)
    with pytest.raises(RecipeError, match=match):
        TasteTokenizer.from_exp(tmp_path / "system", pretrained_dir)


def test_tokens_of_another_system_are_refused(recipe, pretrained_dir, encoded):
    with pytest.raises(RecipeError, match="another system"):
        TasteTokenizer.from_exp(recipe / "exp/taste", pretrained_dir).decode(encoded["phone"])


def test_the_model_card_says_what_it_is(recipe):
    write_json(recipe / "exp/results.json", {"systems": {}})
    card = write_model_card(recipe / "exp/taste_rvq").read_text()
    for what in ("3 integers below 16", "Whisper tiny.en", "K 12", "griffinlim", "## Licence", "tokenize speech.wav"):
        assert what in card
    assert "tokenize speech.wav" not in write_model_card(recipe / "exp/taste").read_text()


def test_the_sentencepiece_model_stays_with_the_system(recipe, tmp_path):
    train_sentencepiece(recipe / "data/train", tmp_path / "exp/sentencepiece.model", 40)

    record = SentencePieceTokenizer(tmp_path / "exp/sentencepiece.model").record()
    keep_sentencepiece(tmp_path / "exp/sentencepiece.model", record, tmp_path / "system")
    assert SentencePieceTokenizer(tmp_path / "system/sentencepiece.model").record() == record
    with pytest.raises(RecipeError, match="--sentencepiece_model"):
        keep_sentencepiece(None, record, tmp_path / "system")
    with pytest.raises(RecipeError, match="is not the sentencepiece model"):
        keep_sentencepiece(Path(__file__), record, tmp_path / "system")


def test_examples_of_the_help_are_commands():
    examples = [line for line in command_line.EXAMPLES.replace("\\\n", "").splitlines() if "python -m taste" in line]

    kinds = [command_line._parser().parse_args(shlex.split(line)[3:]).command.__name__ for line in examples]
    assert set(kinds) == {"_tokenize", "_reconstruct", "_edit"}
    assert (CORPUS.parent / command_line.SAMPLE).is_file()
