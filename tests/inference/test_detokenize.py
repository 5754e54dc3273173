"""Streamed text equals the text detokenized as a whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.inference import detokenize as streaming
from lstm_lm.inference.detokenize import StopStrings, text_pieces
from lstm_lm.text.detokenize import detokenize, detokenize_continuation

letters = st.text("ab\n", max_size=12)


def cut(pieces: list[str], strings: list[str]) -> tuple[str, bool]:
    """The shown text, and whether a stop string matched."""
    stop = StopStrings(strings)
    shown = ""
    for piece in pieces:
        shown += stop.feed(piece)
        if stop.matched:
            return shown, True
    return shown + stop.flush(), False


@given(st.lists(letters, max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_stop_strings_do_not_depend_on_piece_boundaries(pieces: list[str], strings: list[str]) -> None:
    whole = "".join(pieces)
    expected = cut([whole], strings)
    assert cut(pieces, strings) == expected
    assert cut(list(whole), strings) == expected
    shown, matched = expected
    assert matched == any(string in whole for string in strings)
    assert not any(string in shown for string in strings)
    assert matched or shown == whole


def test_first_complete_stop_string_wins() -> None:
    assert cut(["one, two. three"], [".", ", "]) == ("one", True)
    assert cut(["abcd"], ["abcd", "bc"]) == ("a", True)
    assert cut(["abc"], ["bc", "abc"]) == ("", True)


def test_only_a_possible_stop_string_is_held_back() -> None:
    stop = StopStrings(["end."])
    assert stop.feed("the en") == "the "
    assert stop.feed("emy e") == "enemy "
    assert stop.feed("x") == "ex"
    assert stop.flush() == ""


LINE = "the cat cats s , . ? \" ' '' `` ` „ “ ” ( ) [ $ £ % 's 'd don 't @-@ @,@ @.@ 1 café 日本 語 😀 <unk> <eos>"
SPELLINGS = LINE.split()


# the first use of Moses loads its tables, which takes long
@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(SPELLINGS), max_size=30), st.lists(st.sampled_from(SPELLINGS), max_size=10))
def test_joined_pieces_are_the_continuation(words: list[str], typed: list[str]) -> None:
    for prompt in ("", " ", "I said ", 'He "', "the cats'", "a\nb", "a\n", "the `` cats ' 日本", " ".join(typed)):
        assert "".join(text_pieces(prompt, words)) == detokenize_continuation(prompt, words)


@pytest.mark.parametrize("word", ["cat", '"', "'", "cats '"])
def test_streaming_a_long_line_takes_linear_time(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    num_words = 0

    def counting(words: list[str]) -> str:
        nonlocal num_words
        num_words += len(words)
        return detokenize(words)

    monkeypatch.setattr(streaming, "detokenize", counting)
    line = word.split() * 500
    assert "".join(text_pieces(" ".join(line), line)) == detokenize_continuation(" ".join(line), line)
    assert num_words < 8 * len(line)
