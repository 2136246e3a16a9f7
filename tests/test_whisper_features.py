import numpy as np
import pytest
import torch
import whisper

from taste.errors import RecipeError, UtteranceError
from taste.whisper.features import batches, check_layers, encode, frames_of

LAYERS = ["0", "2", "4", "last"]


def speech(seconds, seed=0):
    """Something with formants, syllables and noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(5 * time)) / 16000
    voice = sum(np.sin(k * pitch) / k * (1 + np.sin(3 * k + 7 * time)) for k in range(1, 30))
    samples = voice * (1 + np.sin(2 * np.pi * 4 * time)) * 0.05 + random.normal(size=len(time)) * 1e-3
    return samples.astype(np.float32)


def whispers_own(model, samples, padding):
    """Layers as hooks on openai-whisper's own forward pass see them."""
    mel = whisper.log_mel_spectrogram(samples, model.dims.n_mels, padding)[None]
    seen = {}
    blocks = model.encoder.blocks
    handles = [blocks[0].register_forward_pre_hook(lambda _, args: seen.update({"0": args[0]}))]
    for index, block in enumerate(blocks, start=1):
        handles.append(block.register_forward_hook(lambda *args, index=index: seen.update({str(index): args[2]})))
    positions = model.encoder.positional_embedding
    try:
        model.encoder.positional_embedding = positions[: (mel.shape[-1] + 1) // 2]
        with torch.inference_mode():
            seen["last"] = model.encoder(mel)
    finally:
        model.encoder.positional_embedding = positions
        for handle in handles:
            handle.remove()
    return {layer: x[0].numpy() for layer, x in seen.items()}


@pytest.mark.parametrize("seconds", [0.02, 1.2345, 3.11])
def test_layers_are_those_of_whispers_own_encoder(tiny_en, seconds):
    samples = speech(seconds)
    expected = whispers_own(tiny_en, samples, padding=0)
    (found,) = encode(tiny_en, [samples], LAYERS)
    for layer in LAYERS:
        assert found[layer].shape == (frames_of(len(samples)), 384) and found[layer].dtype == np.float32
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-4)


def test_padding_to_30s_is_whispers_and_is_cut_off(tiny_en):
    samples = speech(1.51)
    expected = whispers_own(tiny_en, samples, padding=480000 - len(samples))
    (found,) = encode(tiny_en, [samples], LAYERS, pad_to_30s=True)
    for layer in LAYERS:
        assert len(expected[layer]) == 1500
        np.testing.assert_allclose(found[layer], expected[layer][:76], atol=1e-4)


def test_an_utterance_does_not_depend_on_its_batch(tiny_en):
    batch = [speech(seconds, seed) for seed, seconds in enumerate([0.5, 1.3, 0.31, 1.499, 0.02, 0.7, 0.9, 0.77])]
    for samples, together in zip(batch, encode(tiny_en, batch, LAYERS), strict=True):
        (alone,) = encode(tiny_en, [samples], LAYERS)
        for layer in LAYERS:
            np.testing.assert_allclose(together[layer], alone[layer], atol=1e-4)


def test_layers_do_not_depend_on_which_are_asked_for(tiny_en):
    samples = [speech(1)]
    (every,), (one,) = encode(tiny_en, samples, LAYERS), encode(tiny_en, samples, ["2"])
    assert list(one) == ["2"]
    np.testing.assert_allclose(one["2"], every["2"], atol=1e-4)


def test_bfloat16_gives_nearly_the_same(tiny_en):
    samples = [speech(1)]
    (full,), (half,) = encode(tiny_en, samples, LAYERS), encode(tiny_en, samples, LAYERS, dtype=torch.bfloat16)
    for layer in LAYERS:
        assert half[layer].dtype == np.float32
        a, b = ((x[layer] - full[layer].mean(0)) / full[layer].std(0) for x in (full, half))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.mean() > 0.995


@pytest.mark.parametrize("samples", [320, 479, 480, 16000, 16159, 16160, 16161])
def test_number_of_frames(toy_whisper, samples):
    (found,) = encode(toy_whisper, [speech(samples / 16000)], ["1"])
    assert len(found["1"]) == frames_of(samples)
    assert abs(frames_of(samples) - samples / 320) < 1


@pytest.mark.parametrize("samples", [0, 319, 480001])
def test_audio_that_does_not_fit_the_encoder_is_an_error_of_the_utterance(toy_whisper, samples):
    with pytest.raises(UtteranceError, match="Whisper's encoder takes"):
        encode(toy_whisper, [np.zeros(samples, np.float32)], ["1"])


def test_thirty_seconds_fit(toy_whisper):
    (found,) = encode(toy_whisper, [speech(30)], ["last"])
    assert found["last"].shape == (1500, 16)


@pytest.mark.parametrize("layers", [[], ["5"], ["-1"], ["deep"], ["2", "2"]])
def test_layers_that_the_model_has_not_are_refused(layers):
    with pytest.raises(RecipeError, match="0, 1, 2, 3, 4, last"):
        check_layers(layers, 4)


def test_batches_keep_order_and_limit():
    sizes = [5, 4, 3, 20, 1, 9, 2]
    found = list(batches(sizes, float, 10))
    assert found == [[5, 4], [3], [20], [1, 9], [2]]
