import pytest

from taste.errors import RecipeError, UtteranceError
from taste.tables import write_table
from taste.text.tokens import load_text_tokenizer, train_sentencepiece

SENTENCES = [
    "OUR NEIGHBOR SOLD NINE YELLOW PICTURES YESTERDAY",
    "THE TEACHER'S FRIEND BOUGHT TWELVE PURPLE BICYCLES ON MONDAY",
    "MY COUSIN FOUND SEVEN ORDINARY CANDLES TODAY",
    "WELL WHAT DON'T YOU KNOW ABOUT MISTER QUILTER'S GOSPEL",
]


@pytest.fixture
def data_dir(tmp_path):
    write_table(tmp_path / "text", {f"utt{i}": sentence for i, sentence in enumerate(SENTENCES)})
    return tmp_path


@pytest.fixture(params=["whisper", "sentencepiece"])
def tokenizer(request, data_dir):
    if request.param == "whisper":
        return load_text_tokenizer("whisper")
    train_sentencepiece(data_dir, data_dir / "55.model", 55)
    return load_text_tokenizer("sentencepiece", data_dir / "55.model")


def test_text_comes_back_in_lower_case(tokenizer):
    for sentence in SENTENCES:
        ids = tokenizer.encode(sentence)
        assert tokenizer.decode(ids) == sentence.lower()
        assert max(ids) < tokenizer.vocab_size


def test_word_lengths_are_those_of_the_words(tokenizer):
    for sentence in SENTENCES:
        ids, lengths, start = tokenizer.encode(sentence), tokenizer.word_lengths(sentence), 0
        for word, length in zip(sentence.lower().split(), lengths, strict=True):
            assert tokenizer.decode(ids[start : start + length]).strip() == word
            start += length
        assert start == len(ids)


def test_space_around_words_does_not_matter(tokenizer):
    assert tokenizer.encode("  my \t cousin\n") == tokenizer.encode("MY COUSIN")


@pytest.mark.parametrize("text", ["", "  \t "])
def test_empty_transcript_is_an_error_of_the_utterance(tokenizer, text):
    with pytest.raises(UtteranceError, match="transcript is empty"):
        tokenizer.encode(text)


def test_whisper_ids_are_those_of_cosyvoice_without_prefix():
    tokenizer = load_text_tokenizer("whisper")
    assert tokenizer.vocab_size == 51866
    assert tokenizer.encode("HELLO WORLD") == [675, 1913, 1002]  # "hel" "lo" " world"
    assert tokenizer.record() == {"token_type": "whisper", "vocab_size": 51866}


def test_control_tokens_in_a_transcript_are_text():
    tokenizer = load_text_tokenizer("whisper")
    ids = tokenizer.encode("stop <|endoftext|> here")
    assert max(ids) < 50257
    assert tokenizer.decode(ids) == "stop <|endoftext|> here"


def test_sentencepiece_training_repeats_and_is_recorded(data_dir):
    for name in ("a.model", "b.model"):
        train_sentencepiece(data_dir, data_dir / "new" / name, 55)
    first, second = (load_text_tokenizer("sentencepiece", data_dir / "new" / name) for name in ("a.model", "b.model"))
    assert first.record() == second.record()
    assert first.record()["vocab_size"] == 55 and len(first.record()["model_sha256"]) == 64


@pytest.mark.parametrize("vocab_size", [5, 5000])
def test_vocabulary_that_the_text_does_not_give_is_refused(data_dir, vocab_size):
    with pytest.raises(RecipeError, match=f"no sentencepiece model of {vocab_size} pieces .*ocab"):
        train_sentencepiece(data_dir, data_dir / "x.model", vocab_size)
    assert not (data_dir / "x.model").exists()


def test_unusable_models_are_refused(data_dir):
    with pytest.raises(RecipeError, match="is no sentencepiece model"):
        load_text_tokenizer("sentencepiece", data_dir / "text")
    with pytest.raises(RecipeError, match=r"x\.model does not exist"):
        load_text_tokenizer("sentencepiece", data_dir / "x.model")
    with pytest.raises(RecipeError, match="--sentencepiece_model"):
        load_text_tokenizer("sentencepiece")
    with pytest.raises(RecipeError, match="--token_type bpe"):
        load_text_tokenizer("bpe")
