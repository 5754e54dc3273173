"""Text that comes in pieces is the text that would have come at once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.inference.pieces import StopStrings, text_pieces
from lstm_lm.text.typed import continuation

letters = st.text("ab\n", max_size=12)


def cut(pieces: list[str], strings: list[str]) -> tuple[str, bool]:
    """What is shown of a text that comes in ``pieces``."""
    stop = StopStrings(strings)
    shown = ""
    for piece in pieces:
        shown += stop.pass_on(piece)
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
    assert stop.pass_on("the en") == "the "
    assert stop.pass_on("emy e") == "enemy "
    assert stop.pass_on("x") == "ex"
    assert stop.rest() == ""


# the first look at the tables of Moses takes long
@settings(deadline=None)
@given(st.lists(st.sampled_from(["the", "cat", ",", '"', "(", ")", "'s", "@-@", "@,@", "1", "don", "'t", "<eos>"])))
def test_pieces_make_up_the_continuation(words: list[str]) -> None:
    for prompt in ("", "I said ", 'He "', "a\nb"):
        assert "".join(text_pieces(prompt, words)) == continuation(prompt, words)
