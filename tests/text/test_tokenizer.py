"""Tokenizers split text as WikiText does."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.detokenize import detokenize
from lstm_lm.text.normalize import normalize
from lstm_lm.text.tokenizer import Tokenizer, _moses

MOSES = Tokenizer("moses")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("I don't know.", "I don 't know ."),
        ("the game's role-playing part", "the game 's role @-@ playing part"),
        ("1,000 and 3.5, or 1,234,567.89", "1 @,@ 000 and 3 @.@ 5 , or 1 @,@ 234 @,@ 567 @.@ 89"),
        ("the 1,000th day", "the 1,000th day"),
        ("(see [1]) & <b>", "( see [ 1 ] ) & < b >"),
        ('he said "hello"', 'he said " hello "'),
        ("The U.S. and Mr. Smith left. They ran...", "The U.S. and Mr. Smith left . They ran ..."),
        ("<unk>'s and <unk>-like", "<unk> 's and <unk> @-@ like"),
        ("", ""),
        ("  a\tb  ", "a b"),
    ],
)
def test_moses_follows_wikitext(line: str, words: str) -> None:
    assert MOSES.words(line) == words.split()


def test_whitespace_only_splits_at_spaces() -> None:
    assert Tokenizer("whitespace").words(" don't @-@  1,000. ") == ["don't", "@-@", "1,000."]


def test_a_tokenizer_is_a_value() -> None:
    assert Tokenizer("moses") == MOSES
    assert len({Tokenizer("moses"), MOSES, Tokenizer("whitespace")}) == 2
    with pytest.raises(ValueError, match="unknown tokenizer"):
        Tokenizer("bpe")


def test_detokenized_wikitext_gives_its_tokens_again(wikitext2_dir: Path) -> None:
    """Most published lines survive the round trip; for the rest the text does not determine the tokens."""
    with (wikitext2_dir / "valid.txt").open(encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip()][:800]
    num_words = sum(map(len, lines))
    num_different = 0
    for line in lines:
        again = MOSES.words(detokenize(line))
        num_different += len(set(enumerate(line)) ^ set(enumerate(again))) > 0
    assert num_different / len(lines) < 0.15, f"{num_different} of {len(lines)} lines ({num_words} words) differ"


@given(st.text())
def test_any_text_gives_words_without_spaces(text: str) -> None:
    assert all(word and not any(char.isspace() for char in word) for word in MOSES.words(text))


@given(st.text(st.characters(categories=["L", "N", "M"]), min_size=1, max_size=30))
def test_shortcut_for_letters_and_digits_equals_moses(word: str) -> None:
    tokens = _moses().tokenize(normalize(word), aggressive_dash_splits=True, escape=False, return_str=True)
    assert MOSES.words(word) == tokens.split()
