"""Decoding gives upstream's units, whatever the batch, and keeps to its limits."""

import math

import pytest
import torch

from taste.errors import RecipeError
from taste.model import cuda_graph, decoding
from taste.model.batch import Batch
from taste.model.continuation import Continuation
from taste.model.decoding import Decoded, Limits, Prompt, decode
from taste.model.joint import JointModel
from taste.model.lm import CosyVoiceLM
from taste.model.sampling import KINDS, Sampling, uniform_numbers
from tests.helpers import UNITS, model_config
from tests.helpers_cuda_graph import record_on_cpu


def make_lm(**changes) -> CosyVoiceLM:
    """An LM whose units depend on what it reads, and which ends sooner or later."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lm = CosyVoiceLM(model_config(llm_blocks=2, **changes)).eval()
        torch.nn.init.normal_(lm.llm_decoder.weight, std=0.7)
    return lm


def always(lm: CosyVoiceLM, **logits: float) -> CosyVoiceLM:
    """Let the LM say the same at every step: `unit_3=5.0`, `end=1.0`; all else is 0."""
    torch.nn.init.zeros_(lm.llm_decoder.weight)
    torch.nn.init.zeros_(lm.llm_decoder.bias)
    with torch.no_grad():
        for name, logit in logits.items():
            lm.llm_decoder.bias[UNITS if name == "end" else int(name.removeprefix("unit_"))] = logit
    return lm


TEXT_LENGTHS = torch.tensor([4, 11, 1, 7, 6])


def decode_texts(lm, sampling, limits, rows=slice(None), seed=0, prompt=None, text_length=TEXT_LENGTHS) -> Decoded:
    """Decode some of five utterances."""
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(5, 11, lm.llm_decoder.in_features, generator=generator)
    spk_emb = torch.randn(5, 6, generator=generator)
    utts = [f"utt{i}" for i in range(5)][rows]
    if prompt:
        prompt = Prompt(prompt.text_length[rows], prompt.unit[rows], prompt.unit_length[rows])
    return decode(lm, utts, text[rows], text_length[rows], spk_emb[rows], sampling, limits, seed, prompt)


def rows_of(decoded: Decoded) -> list[list[int]]:
    return [unit[:n].tolist() for unit, n in zip(decoded.unit, decoded.unit_length.tolist(), strict=True)]


def test_greedy_continuation_is_upstreams(golden):
    lm, tensors = golden
    text_length = tensors["text_token_len"].long()
    with torch.no_grad():
        text = lm.encode_text(tensors["text_token"])
    ratio = (len(tensors["greedy"]) + 0.5) / text_length[0].item()
    utts = [f"utt{i}" for i in range(len(text))]
    arguments = (tensors["embedding"], Sampling("greedy"), Limits(ratio, ratio), 0)
    assert rows_of(decode(lm, utts, text, text_length, *arguments))[0] == tensors["greedy"].tolist()


def test_step_logits_are_the_teacher_forced_ones(golden):
    lm, tensors = golden
    text_length, unit_length = tensors["text_token_len"].long(), tensors["speech_token_len"].long()
    unit, spk_emb = tensors["speech_token"].long(), tensors["embedding"]
    with torch.no_grad():
        text = lm.encode_text(tensors["text_token"])
        expected, _ = lm(text, text_length, unit, unit_length, spk_emb)
        none = torch.zeros_like(unit_length)
        continuation = Continuation(lm, lm.sequences(text, text_length, unit, none, spk_emb), unit.shape[1])
        for step in range(unit.shape[1]):
            speaking = step <= unit_length
            torch.testing.assert_close(continuation.logits[speaking], expected[speaking, step], atol=1e-4, rtol=0)
            continuation.append(unit[:, step])


@pytest.mark.parametrize("kind", KINDS)
def test_batched_decoding_gives_the_units_of_one_by_one(kind):
    lm, sampling, limits = make_lm(), Sampling(kind, top_k=8, top_p=0.9), Limits(2, 6)
    batched = decode_texts(lm, sampling, limits)
    alone = [decode_texts(lm, sampling, limits, slice(i, i + 1)) for i in range(5)]
    assert rows_of(batched) == [rows_of(one)[0] for one in alone]
    assert batched.at_limit.tolist() == [one.at_limit.item() for one in alone]
    assert len(set(batched.unit_length.tolist())) > 2  # some finish before others


def test_a_prompt_is_gone_on_from():
    lm, limits = make_lm(), Limits(3, 3)
    generator = torch.Generator().manual_seed(2)
    prompt = Prompt(
        torch.tensor([2, 5, 0, 1, 3]),
        torch.randint(UNITS, (5, 6), generator=generator),
        torch.tensor([5, 6, 0, 2, 4]),
    )
    batched = decode_texts(lm, Sampling(), limits, prompt=prompt)
    assert batched.unit_length.tolist() == (3 * (TEXT_LENGTHS - prompt.text_length)).tolist()
    alone = [decode_texts(lm, Sampling(), limits, slice(i, i + 1), prompt=prompt) for i in range(5)]
    assert rows_of(batched) == [rows_of(one)[0] for one in alone]
    greedy = rows_of(decode_texts(lm, Sampling("greedy"), Limits(4, 4), slice(1, 2)))[0]
    none = torch.zeros_like(TEXT_LENGTHS)
    begun = Prompt(none, torch.tensor(greedy[:11]).expand(5, -1), none + 11)
    assert rows_of(decode_texts(lm, Sampling("greedy"), Limits(3, 3), slice(1, 2), prompt=begun))[0] == greedy[11:]


def test_random_numbers_are_the_seeds_and_the_utterances():
    lm, limits = make_lm(), Limits(4, 8)
    first = decode_texts(lm, Sampling(), limits, seed=1)
    assert rows_of(first) == rows_of(decode_texts(lm, Sampling(), limits, seed=1))
    assert rows_of(first) != rows_of(decode_texts(lm, Sampling(), limits, seed=2))
    numbers = uniform_numbers(0, ["a", "b"], [3, 2])
    assert torch.equal(numbers[:2, 1:], uniform_numbers(0, ["b"], [2]))
    assert not numbers[2, 1].any()


def test_limits_are_kept_and_reported():
    lm = make_lm()
    ends_at_once = decode_texts(always(lm, end=50.0), Sampling(), Limits(2.5, 8))
    assert ends_at_once.unit_length.tolist() == [10, 27, 2, 17, 15]
    assert not ends_at_once.at_limit.any()
    never_ends = decode_texts(always(lm, end=-50.0), Sampling(), Limits(0, 2.5))
    assert never_ends.unit_length.tolist() == [10, 27, 2, 17, 15]
    assert never_ends.at_limit.all()
    silent = decode_texts(always(lm, end=50.0), Sampling(), Limits(0, 8))
    assert silent.unit.shape == (5, 0)
    assert not silent.at_limit.any()
    assert Limits.for_rate(50) == Limits(2, 60)


def test_a_unit_that_repeats_is_drawn_again():
    lm = always(make_lm(), unit_3=5.0, end=-50.0)  # 3 alone makes up the nucleus
    rows = rows_of(decode_texts(lm, Sampling(window=10, repetition=0.1), Limits(8, 8)))
    for units in rows:
        assert [step for step, unit in enumerate(units) if unit == 3] == list(range(0, len(units), 11))
    rows = rows_of(decode_texts(lm, Sampling(window=4, repetition=0.5), Limits(8, 8)))
    for units in rows:  # twice, and again when one of them has left the window
        assert [step for step, unit in enumerate(units) if unit == 3] == [t for t in range(len(units)) if t % 5 < 2]


def likely_units(p: list[float], top_k: int, top_p: float) -> dict[int, float]:
    """The units that are drawn from, likeliest first, with their probabilities."""
    kept = {}
    for unit in sorted(range(len(p)), key=lambda i: -p[i]):
        if sum(kept.values()) < top_p and len(kept) < top_k and p[unit] > 0:
            kept[unit] = p[unit]
    return {unit: weight / sum(kept.values()) for unit, weight in kept.items()}


LOGITS = torch.tensor([0.3, 1.1, -0.4, 2.0, -torch.inf, 0.9, -1.5, 1.4], dtype=torch.float64)
PROBABILITIES = LOGITS.softmax(0).tolist()


def frequencies(sampling: Sampling, recent: list[int]) -> list[float]:
    """How often each class is chosen, over a grid of random numbers."""
    grid = (torch.arange(200) + 0.5) / 200
    uniform = torch.cartesian_prod(grid, grid)
    n = len(uniform)
    chosen = sampling.choose(LOGITS.expand(n, -1), torch.tensor(recent, dtype=torch.long).expand(n, -1), uniform)
    return (torch.bincount(chosen, minlength=len(LOGITS)) / n).tolist()


@pytest.mark.parametrize(
    ("sampling", "top_k", "top_p"),
    [
        (Sampling("greedy"), 1, 1.0),
        (Sampling("top_k", top_k=3, top_p=0.1), 3, 1.0),
        (Sampling("top_k", top_k=99), 99, 1.0),
        (Sampling("top_p", top_k=1, top_p=0.8), 99, 0.8),
        (Sampling("top_p", top_p=0.01), 1, 1.0),
        (Sampling("ras", top_k=3, top_p=0.8), 3, 0.8),
        (Sampling("ras", top_k=25, top_p=0.6), 25, 0.6),
    ],
)
def test_drawn_units_and_their_probabilities(sampling, top_k, top_p):
    expected = likely_units(PROBABILITIES, top_k, top_p)
    found = frequencies(sampling, [0, 2, 2])
    assert {unit for unit, p in enumerate(found) if p > 0} == set(expected)
    assert found == pytest.approx([expected.get(unit, 0) for unit in range(len(LOGITS))], abs=0.006)


@pytest.mark.parametrize(("recent", "repeated"), [([3, 1, 1, 5], {1}), ([3, 1, 3, 1], {1, 3}), ([5, 3, 1], set())])
def test_second_draw_is_from_all_other_units(recent, repeated):
    sampling = Sampling("ras", top_k=25, top_p=0.8, window=4, repetition=0.5)
    expected = [0.0] * len(LOGITS)
    for unit, p in likely_units(PROBABILITIES, 25, 0.8).items():
        if unit in repeated:
            for other, q in enumerate(PROBABILITIES):
                expected[other] += p * q / (1 - PROBABILITIES[unit]) if other != unit else 0
        else:
            expected[unit] += p
    found = frequencies(sampling, recent)
    assert math.isclose(sum(expected), 1)
    assert found == pytest.approx(expected, abs=0.015)
    assert found[4] == 0  # forbidden


def test_second_draw_finds_another_unit_where_one_has_all_the_probability():
    logits = torch.tensor([[0.0, 2000.0, 1.0]])
    chosen = Sampling("ras").choose(logits, torch.tensor([[1]]), torch.tensor([[0.5, 0.9]]))
    assert chosen.tolist() == [2]


def test_joint_model_decodes_what_text_and_speech_say():
    torch.manual_seed(0)
    model = JointModel(model_config(aggregator="attention")).eval()
    torch.nn.init.normal_(model.speech.affine.weight, std=5)
    torch.nn.init.normal_(model.lm.llm_decoder.weight)
    text_length = torch.tensor([3, 5])
    batch = Batch(
        ["a", "b"], torch.randint(50, (2, 5)), text_length, torch.zeros(2, 0, dtype=torch.long),
        torch.zeros(2, dtype=torch.long), torch.randn(2, 6),
        {"deep": torch.randn(2, 20, 12), "shallow": torch.randn(2, 20, 12)}, torch.tensor([15, 20]),
    )  # fmt: skip
    arguments = (Sampling(), Limits(6, 6), 0)
    spoken = rows_of(model.decode(batch, *arguments))
    with torch.no_grad():
        e_joint, _, _ = model.text_states(batch)
    assert spoken == rows_of(decode(model.lm, batch.utts, e_joint, text_length, batch.spk_emb, *arguments))
    batch.layers["shallow"] = -batch.layers["shallow"]
    assert spoken != rows_of(model.decode(batch, *arguments))


def test_bfloat16_autocast():
    lm, limits = make_lm(), Limits(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = decode_texts(lm, Sampling(), limits)
    assert decoded.unit_length.tolist() == (4 * TEXT_LENGTHS).tolist()
    expected = decode_texts(lm, Sampling(), limits)
    assert (decoded.unit[:, :4] == expected.unit[:, :4]).float().mean() > 0.8  # until rounding leads elsewhere


@pytest.fixture
def no_luck():
    """Memory that nothing was written to holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("no_luck")
def test_steps_repeated_by_cuda_graphs_give_the_same_units(kind, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # the layers of a GPU
    lm, sampling, limits = make_lm(), Sampling(kind, top_k=8, top_p=0.9), Limits(1, 6)
    prompt = Prompt(torch.tensor([2, 5, 0, 1, 3]), torch.arange(30).view(5, 6) % UNITS, torch.tensor([5, 6, 0, 2, 4]))
    expected = decode_texts(lm, sampling, limits, prompt=prompt)
    recorded = []

    def record(work, device):
        recorded.append(record_on_cpu(work))
        return recorded[-1]

    monkeypatch.setattr(cuda_graph, "record", record)
    monkeypatch.setattr(decoding, "advance", decoding.advance_by_graphs)
    monkeypatch.setattr(decoding, "STRETCH", 10)
    monkeypatch.setattr(decoding, "LOOK", 3)
    found = decode_texts(lm, sampling, limits, prompt=prompt)
    assert rows_of(found) == rows_of(expected)
    assert torch.equal(found.at_limit, expected.at_limit)
    assert len(recorded) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gives_the_cpus_units():
    lm, limits = make_lm(), Limits(2, 9)
    expected = rows_of(decode_texts(lm, Sampling(), limits))
    lm.cuda()
    generator = torch.Generator().manual_seed(1)
    text, spk_emb = torch.randn(5, 11, 16, generator=generator), torch.randn(5, 6, generator=generator)
    utts = [f"utt{i}" for i in range(5)]
    decoded = decode(lm, utts, text.cuda(), TEXT_LENGTHS.cuda(), spk_emb.cuda(), Sampling(), limits, 0)
    assert rows_of(decoded) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "beam"}, "'beam': choose one of greedy, top_k, top_p, ras"),
        ({"top_k": 0}, "top_k is 0; it has to be at least 1"),
        ({"window": 0}, "window is 0"),
        ({"top_p": 0}, "top_p is 0; it has to be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"repetition": 0}, "repetition is 0"),
    ],
)
def test_bad_sampling_is_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        Sampling(**settings)


@pytest.mark.parametrize("limits", [(3, 2), (-1, 2), (0, 0), (2, float("nan"))])
def test_bad_limits_are_refused(limits):
    with pytest.raises(RecipeError, match="units a text token: the least has to be"):
        Limits(*limits)


def test_utterances_that_cannot_be_spoken_are_named():
    lm, limits = make_lm(), Limits(2, 20)
    with pytest.raises(RecipeError, match="utt2 has no text to speak; leave it out"):
        decode_texts(lm, Sampling(), limits, text_length=torch.tensor([4, 3, 0, 1, 1]))
    with pytest.raises(RecipeError, match=r"utt2: at most 0\.5 units for each"):
        decode_texts(lm, Sampling(), Limits(0, 0.5))
    none = torch.zeros(5, dtype=torch.long)
    outside = torch.tensor([[0], [1], [0], [UNITS], [0]])
    with pytest.raises(RecipeError, match="utt3: its prompt has units outside 0 to 11"):
        decode_texts(lm, Sampling(), limits, prompt=Prompt(none, outside, none))
    with torch.no_grad():
        lm.llm_decoder.bias[0] = torch.nan
    with pytest.raises(RecipeError, match="utt0: the model's output is not finite"):
        decode_texts(lm, Sampling(), limits)
