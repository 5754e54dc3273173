"""Parsing word lists and looking up their ids."""

import pytest
from helpers.small_models import small_vocabulary
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.errors import ConfigError
from lstm_lm.inference.word_lists import parse_words, require_ids


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


def test_known_words_have_ids() -> None:
    vocabulary = small_vocabulary()
    assert require_ids(["the", "<unk>"], vocabulary, "ban_tokens") == [0, vocabulary.unk_id]


def test_unknown_words_are_reported_with_close_matches() -> None:
    with pytest.raises(ConfigError) as caught:
        require_ids(["teh", "the", "london", "zzzz"], small_vocabulary(), "ban_tokens")
    problems = caught.value.problems
    assert len(problems) == 3
    assert "(got 'teh')" in problems[0]
    assert "'the'" in problems[0]
    assert "'London'" in problems[1]
    assert problems[2] == "ban_tokens: not in the vocabulary (got 'zzzz'); remove it"
