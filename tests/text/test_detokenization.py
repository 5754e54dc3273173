"""Words as text: round trips and continuations."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.detokenize import detokenize, detokenize_continuation
from lstm_lm.text.input_text import tokenize_input
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

TEXT = "don 't , . \" ' ( ) 1 @,@ 000 well @-@ known things he said the U.S. London i IT @.@ 3 5 's dogs"
WORDS = TEXT.split()


@pytest.mark.parametrize(
    "text",
    [
        "I don't know 1,000 well-known things.",
        'He said "hello" (twice), didn\'t he?',
        "The dogs' tails cost $5 or 3.5%: a lot [1].",
        "Hello <unk>'s world",
        "It's the U.S. and Mr. Smith's!",
        "one\n\ntwo, three\n",
        "rock'n'roll",
        "He lived there 1990 \u2013 2000...",
    ],
)
def test_a_text_survives_tokenizing_and_detokenizing(text: str) -> None:
    vocabulary = Vocabulary.from_counts({"I": 2, "don": 1, "'t": 1, "@,@": 1, "dogs": 1})
    assert detokenize(tokenize_input(text, vocabulary)) == text


@given(
    st.lists(st.sampled_from(["don't", "1,000", "well-known", "3.5", "The", "zyzzyva", "it's", "(the", "end).", "no,"]))
)
def test_words_in_any_order_survive_tokenizing_and_detokenizing(chunks: list[str]) -> None:
    vocabulary = Vocabulary.from_counts({"the": 2, "The": 2, "don": 1, "'t": 1})
    assert detokenize(tokenize_input(" ".join(chunks), vocabulary)) == " ".join(chunks)


@pytest.mark.parametrize(
    ("prompt", "words", "text"),
    [
        ("I want", ["to", "go", "."], "I want to go."),
        ("I want ", ["to"], "I want to"),
        ("well", ["@-@", "known"], "well-known"),
        ("1", ["@,@", "000"], "1,000"),
        ("I don", ["'t", "know"], "I don't know"),
        ('he said "', ["hello", '"', "twice"], 'he said "hello" twice'),
        ('say "hi', ['"', "there"], 'say "hi" there'),
        ("a (", ["b", ")"], "a (b)"),
        ("", ["hello", ",", "you"], "hello, you"),
        ("x\n", ["hello"], "x\nhello"),
        ("the end", [EOS, "Next", UNK], "the end\nNext <unk>"),
        ("odd   spaces,kept", ["too"], "odd   spaces,kept too"),
        ("as typed", [], "as typed"),
        ('the "big"', ["@-@", "small", ",", "@.@", "x"], 'the "big"-small,.x'),
    ],
)
def test_a_continuation_has_the_right_spaces(prompt: str, words: list[str], text: str) -> None:
    assert prompt + detokenize_continuation(prompt, words) == text


@given(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=12))
def test_more_words_only_append_text(prompt: str, words: list[str]) -> None:
    """The text of the first n words is a prefix of the text of more words, apart from a trailing space."""
    texts = [detokenize_continuation(prompt, words[:n]) for n in range(len(words) + 1)]
    assert all(later.startswith(earlier.rstrip(" ")) for earlier, later in pairwise(texts))
