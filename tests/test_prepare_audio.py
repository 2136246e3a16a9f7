import numpy as np
import pytest
import soundfile

from taste.audio import SAMPLE_RATE, read_speech
from taste.corpus.mel_figure import mel_figure
from taste.corpus.prepare_audio import prepare_audio, to_speech
from taste.errors import RecipeError
from taste.tables import read_table, write_table


def tone(rate, seconds=1.0, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """A data directory of a fit file, one at 44.1 kHz in stereo, and one at 8 kHz, under a path with a space."""
    folder = tmp_path / "some audio"
    folder.mkdir()
    soundfile.write(folder / "fit.flac", tone(16000), 16000)
    soundfile.write(folder / "cd.wav", np.stack([tone(44100), 0.5 * tone(44100)], axis=1), 44100)
    soundfile.write(folder / "phone.ogg", tone(8000), 8000)
    write_table(tmp_path / "wav.scp", {path.stem: str(path) for path in folder.iterdir()})
    write_table(tmp_path / "text", {path.stem: "A TONE" for path in folder.iterdir()})
    return tmp_path


def test_only_what_does_not_fit_is_copied(data):
    before = read_table(data / "wav.scp")
    prepare_audio(data, data / "the copies")
    after = read_table(data / "wav.scp")
    assert after["fit"] == before["fit"]
    assert after["cd"] == str(data / "the copies" / "cd.flac")
    assert soundfile.info(before["cd"]).samplerate == 44100  # the original is as it was
    for utt in ("cd", "phone"):
        samples = read_speech(after[utt])
        assert len(samples) == SAMPLE_RATE
        assert np.abs(np.fft.rfft(samples)).argmax() == 440
    assert np.abs(read_speech(after["cd"])).max() == pytest.approx(0.375, abs=0.01)  # the mean of both channels
    prepare_audio(data, data / "the copies")
    assert read_table(data / "wav.scp") == after


def test_resampling_keeps_full_scale_within_range():
    square = np.sign(tone(48000)).astype(np.float32)
    assert np.abs(to_speech(square, 48000)).max() <= 1.0


def test_bad_files_are_named_and_left_out(data, caplog):
    (data / "broken.flac").write_bytes(b"no sound")
    soundfile.write(data / "long.flac", np.zeros(31 * 8000, np.float32), 8000)
    soundfile.write(data / "nan.wav", np.full((100, 2), np.nan, np.float32), 16000, subtype="FLOAT")
    bad = {utt: str(data / f"{utt}.{kind}") for utt, kind in (("broken", "flac"), ("long", "flac"), ("nan", "wav"))}
    write_table(data / "wav.scp", {**read_table(data / "wav.scp"), **bad, "gone": "/does/not/exist.wav"})
    prepare_audio(data, data / "copies")
    assert sorted(read_table(data / "wav.scp")) == ["cd", "fit", "phone"]
    for utt, reason in {"broken": "cannot be read", "long": "31.0 s", "nan": "NaN", "gone": "does not exist"}.items():
        assert any(f"left out {utt}" in line and reason in line for line in caplog.messages)
    assert any("left out 4 of 7" in line for line in caplog.messages)


def test_commands_run_only_when_allowed(data):
    source = read_table(data / "wav.scp")["fit"]
    write_table(data / "wav.scp", {"piped": f"cat '{source}' |"})
    with pytest.raises(RecipeError, match="--allow_pipes true"):
        prepare_audio(data, data / "copies")
    prepare_audio(data, data / "copies", allow_pipes=True)
    copy = read_table(data / "wav.scp")["piped"]
    assert np.abs(read_speech(copy) - read_speech(source)).max() < 1e-4


def test_figure_with_and_without_word_times(data):
    prepare_audio(data, data / "copies")
    write_table(data / "utt2words", {"fit": "A 0.1 0.3 TONE 0.3 0.9"})
    mel_figure(data, data / "exp" / "mel.png")
    assert (data / "exp" / "mel.png").read_bytes().startswith(b"\x89PNG")
