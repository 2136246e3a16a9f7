"""Recordings without a text: what Whisper writes takes the recipe's form and is cut into pieces."""

from taste.tables import read_table
from taste.whisper.transcription import Passage, cut_into_pieces, spoken_form
from tests.helpers_recipe import CORPUS


def test_pieces_end_where_passages_do_and_leave_long_silence_out():
    passages = [Passage(1, 10, "a"), Passage(10, 24, "b"), Passage(25, 33, "c"), Passage(90, 118, "d")]
    pieces = cut_into_pieces(passages, 200)
    assert [piece.text for piece in pieces] == ["a b", "c", "d"]
    assert [(piece.start, piece.end) for piece in pieces] == [(0.5, 24.5), (24.5, 33.5), (89.5, 118.5)]
    assert all(piece.end - piece.start <= 30 for piece in cut_into_pieces([Passage(0, 40, "a")], 40))


def test_text_takes_the_form_of_librispeech_transcripts():
    assert spoken_form("Mr. Quilter's well-known, it’s “20”!  - ") == "mister quilter's well known it's 20"
    text = " ".join(read_table(CORPUS / "test/12/3/12-3.trans.txt").values())
    assert spoken_form(text) == text.lower()
    assert spoken_form(" ?! '") == ""
