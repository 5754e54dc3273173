"""Parsing word lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.inference.word_lists import as_words, parse_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ", []),
        ("the", ["the"]),
        ('",@-@', ['"', "@-@"]),
        (" the , of ", ["the", "of"]),
        (",", [","]),
        (",,", [","]),
        ("the,,,of", ["the", ",", "of"]),
        ("the,", ["the"]),
        ("the,,", ["the", ","]),
        (",the", [",", "the"]),
        ("@,@", ["@,@"]),
        ("@,@,@.@", ["@,@", "@.@"]),
        ("a,@,@ ,b", ["a", "@,@", "b"]),
        ("the,the", ["the"]),
    ],
)
def test_commas_separate_words_and_an_empty_item_is_a_comma(text: str, words: list[str]) -> None:
    assert parse_words(text) == words


@given(st.lists(st.sampled_from(["the", '"', "@-@", "@,@", "-", "don't"]), unique=True))
def test_joined_words_round_trip(words: list[str]) -> None:
    assert parse_words(",".join(words)) == words


@given(st.text(alphabet=',@ ab"', max_size=12))
def test_every_string_parses(text: str) -> None:
    assert all(word and word == word.strip() for word in parse_words(text))


def test_a_list_may_be_a_string() -> None:
    assert list(as_words("to, the")) == list(as_words(["to", "the"])) == ["to", "the"]
