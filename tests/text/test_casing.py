"""Sentence starts and capital letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.casing import apply_typed_case, capitalized, sentence_starts, starts_sentence


@given(st.lists(st.sampled_from(["the", ".", "!", "?", "?!", '"', ")", "Mr.", ",", "<eos>", "..."]), max_size=12))
def test_sentence_starts_agrees_with_starts_sentence(words: list[str]) -> None:
    assert list(sentence_starts(words)) == [starts_sentence(words[:position]) for position in range(len(words))]


@pytest.mark.parametrize(
    ("text", "starts"),
    [("", True), ("the", False), ("the .", True), ('" the . "', True), ('"', True), ('the "', False), ("Mr.", False),
     ("the <eos>", True), ("the ?!", True), ("the ,", False), ("the . (", True), ("...", False),
     ("works . \U0001f389", True), ("works \U0001f389", False), ("! \u2764 \U0001f44d \U0001f3fd", True),
     ("\U0001f389", True)],
)  # fmt: skip
def test_where_a_sentence_starts(text: str, starts: bool) -> None:
    assert starts_sentence(text.split()) is starts


@pytest.mark.parametrize(
    ("word", "expected"),
    [("the", "The"), ("The", "The"), ("iPhone", "iPhone"), ("'s", "'s"), ("don't", "Don't"), ("élan", "Élan"),
     ("IT", "IT"), ("1st", "1st"), ("", ""), ("東", "東")],
)  # fmt: skip
def test_a_sentence_starts_with_a_capital(word: str, expected: str) -> None:
    assert capitalized(word) == expected


@given(st.text(max_size=6), st.integers(0, 6))
def test_applying_the_typed_case_changes_only_the_case(word: str, length: int) -> None:
    assert apply_typed_case(word[:length], word) in (word, word.upper())
    assert apply_typed_case("", word) == word


@pytest.mark.parametrize(
    ("prefix", "word", "expected"),
    [("Th", "the", "The"), ("TH", "the", "THE"), ("pYT", "Python", "Python"), ("pYT", "python", "python"),
     ("PYt", "Python", "Python"), ("mcd", "McDonald", "McDonald"), ("Mcd", "McDonald", "McDonald"),
     ("i", "iPhone", "iPhone"), ("th", "The", "The"), ("Teh", "the", "The")],
)  # fmt: skip
def test_stray_capitals_do_not_spread(prefix: str, word: str, expected: str) -> None:
    assert apply_typed_case(prefix, word) == expected
