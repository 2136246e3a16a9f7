"""A text embedding that trains only the tokens in use learns what it would learn with all of them."""

import torch

from taste.model.text_embedding import TextEmbedding

IN_USE = torch.tensor([2, 3, 11])


def embedding(narrowed: bool) -> TextEmbedding:
    """Twenty tokens, four wide, from the same random numbers each time."""
    torch.manual_seed(0)
    made = TextEmbedding(20, 4)
    if narrowed:
        made.narrow(IN_USE)
    return made


def trained(made: TextEmbedding) -> TextEmbedding:
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.0)
    for step in range(5):
        made(IN_USE[torch.tensor([[step % 3, 2]])]).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    return made


def test_narrowed_training_gives_the_same_weights():
    before, whole, narrowed = embedding(False), trained(embedding(False)), trained(embedding(True))
    assert [p.shape for p in narrowed.parameters()] == [(3, 4)]
    assert list(narrowed.state_dict()) == ["weight"]
    torch.testing.assert_close(narrowed.state_dict()["weight"], whole.state_dict()["weight"])
    assert not torch.equal(narrowed.state_dict()["weight"], before.weight)


def test_a_narrowed_embedding_goes_on_from_a_whole_one():
    whole, narrowed = trained(embedding(False)), embedding(True)
    narrowed.load_state_dict(whole.state_dict())
    torch.testing.assert_close(narrowed(IN_USE), whole(IN_USE), rtol=0, atol=0)
    torch.testing.assert_close(trained(narrowed).state_dict()["weight"], trained(whole).weight)


def test_padding_may_have_any_id():
    narrowed = embedding(True)
    torch.testing.assert_close(narrowed(torch.tensor([[11, 0]]))[0, 0], narrowed.state_dict()["weight"][11])
