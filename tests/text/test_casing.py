"""Capitals as a person writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.casing import apply_prefix_case, capitalized, sentence_starts, starts_sentence


@given(st.lists(st.sampled_from(["the", ".", "!", "?", "?!", '"', ")", "Mr.", ",", "<eos>", "..."]), max_size=12))
def test_both_ways_to_find_the_start_of_a_sentence_agree(words: list[str]) -> None:
    assert list(sentence_starts(words)) == [starts_sentence(words[:position]) for position in range(len(words))]


@pytest.mark.parametrize(
    ("text", "starts"),
    [("", True), ("the", False), ("the .", True), ('" the . "', True), ('"', True), ('the "', False), ("Mr.", False),
     ("the <eos>", True), ("the ?!", True), ("the ,", False), ("the . (", True), ("...", False)],
)  # fmt: skip
def test_where_a_sentence_begins(text: str, starts: bool) -> None:
    assert starts_sentence(text.split()) is starts


@pytest.mark.parametrize(
    ("word", "begins"),
    [("the", "The"), ("The", "The"), ("iPhone", "iPhone"), ("'s", "'s"), ("don't", "Don't"), ("élan", "Élan"),
     ("IT", "IT"), ("1st", "1st"), ("", ""), ("東", "東")],
)  # fmt: skip
def test_a_sentence_begins_with_a_capital(word: str, begins: str) -> None:
    assert capitalized(word) == begins


@given(st.text(max_size=6), st.integers(0, 6), st.sets(st.text(max_size=6)))
def test_carrying_the_case_changes_nothing_but_the_case(word: str, letters: int, known: set[str]) -> None:
    carried = apply_prefix_case(word[:letters], word, known)
    assert carried in (word, word.upper())
    assert apply_prefix_case("", word, known) == word
