"""Text that comes in pieces is the text that would have come at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.inference import detokenize as streaming
from lstm_lm.inference.detokenize import StopStrings, text_pieces
from lstm_lm.text.input_text import detokenize, detokenize_continuation

letters = st.text("ab\n", max_size=12)


def cut(pieces: list[str], strings: list[str]) -> tuple[str, bool]:
    """What is shown of a text that comes in ``pieces``."""
    stop = StopStrings(strings)
    shown = ""
    for piece in pieces:
        shown += stop.feed(piece)
        if stop.found:
            return shown, True
    return shown + stop.rest(), False


@given(st.lists(letters, max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_where_a_text_is_cut_into_pieces_does_not_show(pieces: list[str], strings: list[str]) -> None:
    whole = "".join(pieces)
    expected = cut([whole], strings)
    assert cut(pieces, strings) == expected
    assert cut(list(whole), strings) == expected
    shown, found = expected
    assert found == any(string in whole for string in strings)
    assert not any(string in shown for string in strings)
    assert found or shown == whole


def test_the_string_that_is_complete_first_counts() -> None:
    assert cut(["one, two. three"], [".", ", "]) == ("one", True)
    assert cut(["abcd"], ["abcd", "bc"]) == ("a", True)
    assert cut(["abc"], ["bc", "abc"]) == ("", True)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    stop = StopStrings(["end."])
    assert stop.feed("the en") == "the "
    assert stop.feed("emy e") == "enemy "
    assert stop.feed("x") == "ex"
    assert stop.rest() == ""


LINE = "the cat cats s , . ? \" ' '' `` ` „ “ ” ( ) [ $ £ % 's 'd don 't @-@ @,@ @.@ 1 café 日本 語 😀 <unk> <eos>"
SPELLINGS = LINE.split()


# the first look at the tables of Moses takes long
@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(SPELLINGS), max_size=30), st.lists(st.sampled_from(SPELLINGS), max_size=10))
def test_pieces_make_up_the_continuation(words: list[str], typed: list[str]) -> None:
    for prompt in ("", " ", "I said ", 'He "', "the cats'", "a\nb", "a\n", "the `` cats ' 日本", " ".join(typed)):
        assert "".join(text_pieces(prompt, words)) == detokenize_continuation(prompt, words)


@pytest.mark.parametrize("word", ["cat", '"', "'", "cats '"])
def test_a_long_line_is_not_written_again_for_each_word(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    looked_at = 0

    def counting(words: list[str]) -> str:
        nonlocal looked_at
        looked_at += len(words)
        return detokenize(words)

    monkeypatch.setattr(streaming, "detokenize", counting)
    line = word.split() * 500
    assert "".join(text_pieces(" ".join(line), line)) == detokenize_continuation(" ".join(line), line)
    assert looked_at < 8 * len(line)
