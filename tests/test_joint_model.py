"""The aggregators' output has the text's length, and padding or neighbours never change a result."""

import pytest
import torch

from taste.model.aggregator import attention_over, read_values
from taste.model.batch import Batch
from taste.model.joint import JointModel
from taste.model.transformer import length_mask
from tests.helpers import UNITS, model_config

SYSTEMS = {
    "attention": {"aggregator": "attention"},
    "three layers of another width": {"aggregator": "attention", "aggregator_layers": 3, "aggregator_dim": 20},
    "layer_mix": {"aggregator": "layer_mix", "value_layers": ["shallow", "deep"]},
    "whisper": {"aggregator": "whisper", "aggregator_layers": 2},
    "whisper_attention": {"aggregator": "whisper_attention", "aggregator_layers": 2},
    "words": {"aggregator": "attention", "pooling": "word"},
    "utterance": {"aggregator": "attention", "pooling": "utterance"},
    "speech encoder": {"aggregator": "attention", "speech_encoder_blocks": 1},
    "weighted sum": {"aggregator": "attention", "fusion": "weighted_sum"},
    "concatenation": {"aggregator": "attention", "fusion": "concat"},
}
SPEECH_QUERY = {"aggregator": "speech_query", "fusion": "concat"}
each_system = pytest.mark.parametrize("system", SYSTEMS)


def make_model(system: str = "attention") -> JointModel:
    torch.manual_seed(0)
    settings = SPEECH_QUERY if system == "speech_query" else SYSTEMS[system]
    model = JointModel(model_config(**settings)).eval()
    torch.nn.init.normal_(model.speech.affine.weight)  # it starts at zero, where nothing could be told apart
    return model


def make_batch(text: int, units: int, frames: int) -> Batch:
    generator = torch.Generator().manual_seed(text)
    return Batch(
        [f"utt{text}"],
        torch.randint(50, (1, text), generator=generator),
        torch.tensor([text]),
        torch.randint(UNITS, (1, units), generator=generator),
        torch.tensor([units]),
        torch.randn(1, 6, generator=generator),
        {name: torch.randn(1, frames, 12, generator=generator) for name in ("deep", "shallow")},
        torch.tensor([frames]),
        torch.arange(text)[None] // 2,
    )


def together(a: Batch, b: Batch, padding: float) -> Batch:
    """Both in one batch; padded frames hold `padding`, padded ids 3."""

    def join(tensors: list[torch.Tensor], fill: float) -> torch.Tensor:
        size = max(t.shape[1] for t in tensors)
        padded = torch.full((2, size, *tensors[0].shape[2:]), fill, dtype=tensors[0].dtype)
        for row, tensor in zip(padded, tensors, strict=True):
            row[: tensor.shape[1]] = tensor[0]
        return padded

    names = ("text_length", "unit_length", "frames")
    lengths = {name: torch.cat((getattr(a, name), getattr(b, name))) for name in names}
    return Batch(
        a.utts + b.utts, join([a.text_token, b.text_token], 3), lengths["text_length"], join([a.unit, b.unit], 3),
        lengths["unit_length"], torch.cat((a.spk_emb, b.spk_emb)),
        {name: join([a.layers[name], b.layers[name]], padding) for name in a.layers}, lengths["frames"],
        join([a.word, b.word], -1),
    )  # fmt: skip


@each_system
def test_z_has_the_texts_length_and_attention_covers_only_real_frames(system):
    model, batch = make_model(system), together(make_batch(4, 9, 20), make_batch(7, 5, 11), padding=5.0)
    speech = model.speech(model.lm.encode_text(batch.text_token), batch)
    assert speech.z.shape == (2, 7, 16)
    heads = {"whisper": 4, "whisper_attention": 1}.get(system, 2)
    assert speech.attention.shape == (2, heads, 7, 20)
    torch.testing.assert_close(speech.attention.sum(-1), torch.ones(2, heads, 7))
    assert not speech.attention[1, :, :, 11:].any()


@pytest.mark.parametrize("system", [*SYSTEMS, "speech_query"])
def test_padding_and_neighbours_change_nothing(system):
    model = make_model(system)
    alone, other = make_batch(4, 9, 20), make_batch(7, 15, 31)
    expected = model(alone).logits[0]
    for padding in (0.0, 1e4):
        logits = model(together(alone, other, padding)).logits[0, : len(expected)]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@each_system
def test_the_frames_count(system):
    model, batch = make_model(system), make_batch(4, 9, 20)
    before = model(batch).logits
    batch.layers = {name: layer.flip(-1) for name, layer in batch.layers.items()}
    assert (model(batch).logits - before).abs().max() > 0.01


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "concatenation"])
def test_training_starts_at_the_text_only_model(system):
    torch.manual_seed(0)
    model, batch = JointModel(model_config(**SYSTEMS[system])).eval(), make_batch(4, 9, 20)
    with_speech = model(batch).logits
    model.speech = None
    torch.testing.assert_close(with_speech, model(batch).logits, atol=1e-6, rtol=0)


def test_projecting_after_the_attention_is_projecting_before_it():
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 5, 8), torch.randn(2, 30, 12), torch.randn(2, 30, 12)
    key_weight, value_weight, mask = torch.randn(8, 12), torch.randn(8, 12), length_mask(torch.tensor([30, 17]), 30)
    attention = attention_over(keys, query, key_weight, 2, mask)
    found = read_values(attention, values, value_weight)
    split = [x.unflatten(2, (2, 4)).transpose(1, 2) for x in (query, keys @ key_weight.T, values @ value_weight.T)]
    expected = torch.nn.functional.scaled_dot_product_attention(*split, attn_mask=mask[:, None, None])
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(2))


def test_words_and_utterances_share_their_mean():
    batch = make_batch(5, 9, 20)  # words of 2, 2 and 1 tokens
    text = make_model().lm.encode_text(batch.text_token)
    each = make_model().speech.aggregate(text, batch)[0][0]
    of_words = make_model("words").speech.aggregate(text, batch)[0][0]
    torch.testing.assert_close(of_words[0], each[:2].mean(0))
    torch.testing.assert_close(of_words[3], each[2:4].mean(0))
    torch.testing.assert_close(of_words[4], each[4])
    of_utterance = make_model("utterance").speech.aggregate(text, batch)[0][0]
    torch.testing.assert_close(of_utterance, each.mean(0).expand(5, -1))


def test_with_speech_as_queries_z_has_the_length_of_the_speech():
    model, batch = make_model("speech_query"), together(make_batch(4, 9, 21), make_batch(7, 5, 12), 0.0)
    states, length, speech = model.text_states(batch)
    assert speech.length.tolist() == [11, 6]  # every second frame asks
    assert speech.attention.shape == (2, 2, 11, 7) and not speech.attention[0, :, :, 4:].any()
    assert length.tolist() == [11 + 4, 6 + 7] and states.shape == (2, 15, 16)


def test_concatenation_gives_the_lm_z_and_then_the_text():
    model, batch = make_model("concatenation"), together(make_batch(4, 9, 20), make_batch(7, 5, 11), 0.0)
    states, length, speech = model.text_states(batch)
    text = model.lm.encode_text(batch.text_token)
    assert length.tolist() == [8, 14]
    torch.testing.assert_close(states[0, :8], torch.cat((speech.z[0, :4], text[0, :4])))


def test_loss_counts_units_and_end_of_speech():
    prediction = make_model()(together(make_batch(4, 9, 20), make_batch(7, 5, 11), 0.0))
    assert prediction.counted().sum(1).tolist() == [10, 6]
    assert prediction.target[0, 9] == prediction.target[1, 5] == UNITS
    log_p = prediction.logits.log_softmax(-1)
    nll = [-log_p[i, t, prediction.target[i, t]] for i, n in enumerate((10, 6)) for t in range(n)]
    torch.testing.assert_close(prediction.loss(), torch.stack(nll).mean())
