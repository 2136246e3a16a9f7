"""The aggregator's output has the text's length, and padding or neighbours never change a result."""

import torch

from taste.model.joint import Batch, JointModel
from tests.helpers import UNITS, model_config


def make_model() -> JointModel:
    torch.manual_seed(0)
    model = JointModel(model_config(aggregator="attention")).eval()
    torch.nn.init.normal_(model.aggregator.linear_out.weight)  # it starts at zero, where nothing could be told apart
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
        torch.randn(1, frames, 12, generator=generator),
        torch.randn(1, frames, 12, generator=generator),
        torch.tensor([frames]),
    )


def together(a: Batch, b: Batch, padding: float) -> Batch:
    """Both in one batch; padded frames hold `padding`, padded ids 3."""

    def join(name: str, fill: float) -> torch.Tensor:
        tensors = [getattr(a, name), getattr(b, name)]
        size = max(t.shape[1] for t in tensors)
        padded = torch.full((2, size, *tensors[0].shape[2:]), fill, dtype=tensors[0].dtype)
        for row, tensor in zip(padded, tensors, strict=True):
            row[: tensor.shape[1]] = tensor[0]
        return padded

    names = ("text_length", "unit_length", "frames")
    lengths = {name: torch.cat((getattr(a, name), getattr(b, name))) for name in names}
    return Batch(
        a.utts + b.utts, join("text_token", 3), lengths["text_length"], join("unit", 3), lengths["unit_length"],
        torch.cat((a.spk_emb, b.spk_emb)), join("deep", padding), join("shallow", padding), lengths["frames"],
    )  # fmt: skip


def test_z_has_the_texts_length_and_attention_covers_only_real_frames():
    model, batch = make_model(), together(make_batch(4, 9, 20), make_batch(7, 5, 11), padding=5.0)
    text = model.lm.encode_text(batch.text_token)
    z, attention = model.aggregator(text, batch.text_token, batch.deep, batch.shallow, batch.frames)
    assert z.shape == text.shape == (2, 7, 16)
    assert attention.shape == (2, 2, 7, 20)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, 7))
    assert not attention[1, :, :, 11:].any()


def test_padding_and_neighbours_change_nothing():
    model = make_model()
    alone, other = make_batch(4, 9, 20), make_batch(7, 15, 31)
    expected = model(alone).logits[0]
    for padding in (0.0, 1e4):
        logits = model(together(alone, other, padding)).logits[0, : len(expected)]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_training_starts_at_the_text_only_model():
    torch.manual_seed(0)
    model = JointModel(model_config(aggregator="attention")).eval()
    batch = make_batch(4, 9, 20)
    with_speech = model(batch).logits
    model.aggregator = None
    assert torch.equal(with_speech, model(batch).logits)


def test_loss_counts_units_and_end_of_speech():
    prediction = make_model()(together(make_batch(4, 9, 20), make_batch(7, 5, 11), 0.0))
    assert prediction.counted().sum(1).tolist() == [10, 6]
    assert prediction.target[0, 9] == prediction.target[1, 5] == UNITS
    log_p = prediction.logits.log_softmax(-1)
    nll = [-log_p[i, t, prediction.target[i, t]] for i, n in enumerate((10, 6)) for t in range(n)]
    torch.testing.assert_close(prediction.loss(), torch.stack(nll).mean())
