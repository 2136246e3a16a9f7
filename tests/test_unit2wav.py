"""Units to waveforms by the recipe's own network and Griffin-Lim, on tones of a voice that stand for units."""

import json

import numpy as np
import pytest
import soundfile
import torch

from taste.archives import ArchiveWriter
from taste.errors import RecipeError
from taste.reconstruction import write_waveforms
from taste.scores.acoustics import track_f0
from taste.tables import read_table, write_table
from taste.unit2wav.griffinlim import GriffinLimVocoder
from taste.unit2wav.mel import MELS, griffin_lim, log_mel
from taste.unit2wav.unit_to_mel import UnitToMel, UnitToMelConfig
from taste.unit2wav.unit_to_mel_training import train_unit_to_mel

RATE = 16000
TONES = (300, 600, 1200, 2400)  # Hz, one a unit
F0 = 100
UNITS = {"backend": "kmeans", "model": "tones", "layer": "0", "K": len(TONES), "rate": 25}
CPU = torch.device("cpu")
CONFIG = "dim: 32\ndilations: [1]\nframe_dim: 16\nframe_dilations: [1]\nmax_hours: 1\nepochs: {epochs}\n"
CONFIG += "batch_frames: 500\nlearning_rate: 0.01\nseed: 1\n"


def tone(units, rng):
    """Each unit as 40 ms of a voice that is loudest at its tone, with a little noise."""
    frequency = np.repeat([TONES[unit] for unit in units], RATE // UNITS["rate"])
    time = np.arange(len(frequency)) / RATE
    voice = sum(np.cos(2 * np.pi * f * time) * np.exp(-(((f - frequency) / F0) ** 2)) for f in range(F0, 3000, F0))
    return 0.15 * voice + 0.001 * rng.standard_normal(len(time))


def data_dir(path, utts, seed=0):
    """A data directory of tones with their units."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    wav, utt2s3 = {}, {}
    with ArchiveWriter(path / "spk_emb.ark", path / "spk_emb.scp") as archive:
        for number in range(utts):
            utt, units = f"utt{number:02d}", np.repeat(rng.integers(len(TONES), size=6), 5)
            wav[utt], utt2s3[utt] = str(path / f"{utt}.wav"), " ".join(map(str, units))
            soundfile.write(wav[utt], tone(units, rng), RATE)
            archive.write(utt, np.ones(8, dtype=np.float32))
    write_table(path / "wav.scp", wav)
    write_table(path / "utt2s3", utt2s3)
    (path / "units.json").write_text(json.dumps(UNITS))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with training data, dev data and a network trained on them."""
    folder = tmp_path_factory.mktemp("unit2wav")
    data_dir(folder / "data/train", 24)
    data_dir(folder / "data/dev", 4, seed=1)
    (folder / "griffinlim.yaml").write_text(CONFIG.format(epochs=12))
    train_unit_to_mel(
        folder / "data/train", folder / "data/dev", folder / "griffinlim", folder / "griffinlim.yaml", CPU
    )
    return folder


def loudest(samples):
    """The loudest frequency, in Hz."""
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


def test_griffin_lim_gives_back_what_the_mel_spectrogram_was_made_of():
    noise = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal(RATE)).float()
    filtered = torch.from_numpy(tone([1] * 25, np.random.default_rng(0))).float()
    for samples in (noise, filtered):
        mel = log_mel(samples)
        again = griffin_lim(mel, torch.zeros(len(mel)))
        assert len(samples) <= len(again) <= len(samples) + 160
        torch.testing.assert_close(again.std(), samples.std(), rtol=0.3, atol=0)
        torch.testing.assert_close(griffin_lim(mel, torch.zeros(len(mel))), again, rtol=0, atol=0)
    assert loudest(again.numpy()) == pytest.approx(TONES[1], rel=0.2)


def test_the_shortest_speech_has_a_mel_spectrogram():
    assert log_mel(torch.zeros(320)).shape == (3, MELS)


def test_the_voice_has_the_pitch_that_is_asked_for():
    """Of low voices, too, whose harmonics the mel bands do not tell apart; and none where none is asked for."""
    mel = (-2 - torch.arange(MELS) / 12).expand(120, MELS)
    wanted = torch.cat((torch.linspace(90, 140, 80), torch.zeros(40)))
    found = track_f0(griffin_lim(mel, wanted).numpy())
    voiced = np.isfinite(found)
    assert voiced[:80].mean() > 0.9 and not voiced[85:].any()
    np.testing.assert_allclose(found[:80][voiced[:80]], wanted[:80].numpy()[voiced[:80]], rtol=0.05)


def test_speech_without_a_voice_is_refused(tmp_path):
    for number, name in enumerate(("train", "dev")):
        for wav in read_table(data_dir(tmp_path / name, 2, number) / "wav.scp").values():
            soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal(5 * RATE), RATE)
    (tmp_path / "griffinlim.yaml").write_text(CONFIG.format(epochs=1))
    with pytest.raises(RecipeError, match="no voice was found"):
        train_unit_to_mel(tmp_path / "train", tmp_path / "dev", tmp_path / "out", tmp_path / "griffinlim.yaml", CPU)


def test_padding_and_other_utterances_change_nothing():
    config = UnitToMelConfig(16, [1, 2], 8, [2], 1.0, 1, 100, 0.1, 1)
    model = UnitToMel(config, 5, 3, frames=4).eval()
    long, short, spk = torch.tensor([1, 2, 3, 4, 0, 1]), torch.tensor([4, 2, 1]), torch.randn(2, 3)
    batch = torch.stack([long, torch.cat((short, torch.tensor([3, 3, 3])))])
    both = model(batch, torch.tensor([6, 3]), spk)
    assert both.shape == (2, 24, MELS + 2)
    torch.testing.assert_close(both[1, :12], model(short[None], torch.tensor([3]), spk[1:])[0])
    torch.testing.assert_close(both[0], model(long[None], torch.tensor([6]), spk[:1])[0])


def test_units_become_the_sounds_they_stood_for(trained):
    vocoder = GriffinLimVocoder(trained / "griffinlim", CPU)
    (samples,) = vocoder([torch.tensor([3] * 25 + [0] * 25)], torch.ones(1, 8))
    half = len(samples) // 2
    assert len(samples) == 2 * RATE
    assert loudest(samples[:half].numpy()) == pytest.approx(TONES[3], rel=0.1)
    assert loudest(samples[half:].numpy()) == pytest.approx(TONES[0], rel=0.1)
    assert np.nanmedian(track_f0(samples.numpy())) == pytest.approx(F0, rel=0.05)
    assert samples.abs().max() <= 1


def test_training_is_repeatable_and_keeps_the_best(trained, tmp_path):
    for name in ("a", "b"):
        train_unit_to_mel(
            trained / "data/train", trained / "data/dev", tmp_path / name, trained / "griffinlim.yaml", CPU
        )
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    losses = json.loads((tmp_path / "a/train.json").read_text())["dev_losses"]
    assert min(losses) < 0.7 * losses[0]


def test_waveforms_are_kept_until_their_units_change(trained, tmp_path):
    vocoder = GriffinLimVocoder(trained / "griffinlim", CPU)
    utt2s3, out = tmp_path / "utt2s3", tmp_path / "wav"
    units = {"utt00": "1 1 2 2", "utt01": "3 3 3 0", "utt02": "1", "utt99": "1 2"}
    write_table(utt2s3, units)
    write_waveforms(utt2s3, trained / "data/dev", out, vocoder)
    assert list(read_table(out / "wav.scp")) == ["utt00", "utt01", "utt02"]  # nobody knows the speaker of utt99
    first = {utt: (out / f"{utt}.wav").read_bytes() for utt in ("utt00", "utt01", "utt02")}
    seconds = json.loads((out / "wav.json").read_text())["audio_seconds"]
    assert seconds == pytest.approx(9 / 25)

    (out / "utt01.wav").unlink()
    (out / "utt00.wav").write_bytes(b"untouched")
    write_waveforms(utt2s3, trained / "data/dev", out, vocoder)
    assert (out / "utt01.wav").read_bytes() == first["utt01"]
    assert (out / "utt00.wav").read_bytes() == b"untouched"

    write_table(utt2s3, {**units, "utt02": "2"})
    write_waveforms(utt2s3, trained / "data/dev", out, vocoder)
    assert (out / "utt00.wav").read_bytes() == first["utt00"]
    assert (out / "utt02.wav").read_bytes() != first["utt02"]


@pytest.mark.parametrize(("name", "value"), [("K", 500), ("rate", 50), ("backend", "cosyvoice")])
def test_units_of_another_making_are_refused(trained, name, value):
    vocoder = GriffinLimVocoder(trained / "griffinlim", CPU)
    vocoder.check_units(UNITS, "data/test")
    with pytest.raises(RecipeError, match=f"{name}.*data/test have {value}"):
        vocoder.check_units({**UNITS, name: value}, "data/test")


def test_speakers_of_another_encoder_are_refused(trained):
    with pytest.raises(RecipeError, match="--spk_backend"):
        GriffinLimVocoder(trained / "griffinlim", CPU)([torch.tensor([1])], torch.ones(1, 192))


def test_an_untrained_folder_names_the_stage(tmp_path):
    with pytest.raises(RecipeError, match="stage 11"):
        GriffinLimVocoder(tmp_path, CPU)
