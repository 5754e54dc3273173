"""User input as words of a vocabulary."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstm_lm.text import input_text
from lstm_lm.text.detokenize import detokenize, detokenize_continuation
from lstm_lm.text.input_text import split_partial_word, split_text, tokenize_input
from lstm_lm.text.normalize import normalize
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

TEXT = "don 't , . \" ' ( ) 1 @,@ 000 well @-@ known things he said the U.S. London i IT @.@ 3 5 's dogs"
VOCABULARY = Vocabulary.from_counts(dict.fromkeys(TEXT.split(), 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("he don't", "he don 't"),
        ("1,000 well-known things.", "1 @,@ 000 well @-@ known things ."),
        ('"(the dogs)," he said', '" ( the dogs ) , " he said'),
        ("3.5", "3 @.@ 5"),
        ("the U.S. said.", "the U.S. said ."),
        ("the U.S.", "the U.S."),
        ("@-@ <unk> 't", "@-@ <unk> 't"),
        ("the zyzzyva's", "the zyzzyva 's"),
        ("a\n\nb\n", f"a {EOS} {EOS} b {EOS}"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_input_is_split_into_words_of_the_vocabulary(text: str, words: str) -> None:
    assert tokenize_input(text, VOCABULARY) == words.split()


@pytest.mark.parametrize(
    ("typed", "known"), [("The", "the"), ("london", "London"), ("I", "i"), ("it", "IT"), ("Xy", "Xy")]
)
def test_a_word_takes_the_case_that_the_vocabulary_has(typed: str, known: str) -> None:
    assert tokenize_input(typed, VOCABULARY) == [known]


def test_words_that_the_vocabulary_has_whole_stay_whole() -> None:
    vocabulary = Vocabulary.from_counts({"don't": 3, "well-known": 2, "1,000": 1})
    assert tokenize_input("(don't, well-known 1,000.", vocabulary) == ["(", "don't", ",", "well-known", "1,000", "."]


@pytest.mark.parametrize("text", ["a" * 5000, "1" * 5000, "DOT" * 2000, "(" * 5000, "a" * 500 + "!" * 500])
def test_text_without_spaces_reaches_moses_in_short_parts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    class RecordingTokenizer(Tokenizer):
        def words(self, line: str) -> list[str]:
            nonlocal longest
            longest = max(longest, len(line))
            return super().words(line)

    monkeypatch.setattr(input_text, "_MOSES", RecordingTokenizer("moses"))
    assert "".join(tokenize_input(text, VOCABULARY)) == text
    assert detokenize_continuation(text, ["the"]).endswith("the")
    assert 0 < longest <= 200


@given(st.text())
def test_any_text_can_be_tokenized_and_detokenized(text: str) -> None:
    words = tokenize_input(text, VOCABULARY)
    assert all(word and not any(char.isspace() for char in word) for word in words)
    detokenize(words)
    detokenize_continuation(text, words)


@pytest.mark.parametrize(
    ("prefix", "complete", "partial"),
    [
        ("well-kn", "well @-@", "kn"),
        ("Well-", "well @-@", ""),
        ("don'", "don", "'"),
        ("1,0", "1 @,@", "0"),
        ("1,", "", "1,"),
        ("'th", "'", "th"),
        ("'", "'", ""),
        ("he said 'th", "he said '", "th"),
        ("joe@", "", "joe@"),
        ("joe@exa", "", "joe@exa"),
        ("https://", "", "https://"),
        ("https://ex", "", "https://ex"),
        ("10:", "", "10:"),
        ("to...", "", "to..."),
        ("and/o", "and /", "o"),
        ("(th", "(", "th"),
        ('"', "", '"'),
        ("things he sa", "things he", "sa"),
        ("zyz", "", "zyz"),
    ],
)
def test_a_partial_word_is_split_as_in_the_corpus(prefix: str, complete: str, partial: str) -> None:
    assert split_partial_word(prefix, VOCABULARY) == (complete.split(), partial)


@given(st.text(min_size=1, max_size=12).map(normalize).map(str.strip).filter(bool))
@example("\x1b0")
def test_the_prefix_ends_with_the_partial_word(prefix: str) -> None:
    complete, partial = split_partial_word(prefix, VOCABULARY)
    assert prefix.endswith(partial)
    assert complete or partial == prefix


@pytest.mark.parametrize(
    ("text", "partial"),
    [
        ("I wan", "wan"), ("I want ", ""), ("done.", ""), ("I don\u2019", "don\u2019"), ("built-", "built-"),
        ("a \U0001f389", ""), ("x\ny", "y"), ("", ""), ("(wan", "(wan"), ("cafe\u0301", "cafe\u0301"), ("to...", ""),
        ("a" * 10_000 + " b", "b"), ("wait,", ""),
    ],
)  # fmt: skip
def test_the_half_typed_word_at_the_end_is_split_off(text: str, partial: str) -> None:
    assert split_text(text) == (text.removesuffix(partial), partial)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("he don\u2019t", "he don 't"),
        ("he don\u02bct", "he don 't"),
        ("\ufeffthe do\u00adgs", "the dogs"),
        ("the\u200b dogs\ufe0f", "the dogs"),
        ("typed <eos> here", "typed < eos > here"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_signs_that_change_no_word_are_read_alike(text: str, words: str) -> None:
    assert tokenize_input(text, VOCABULARY) == words.split()


def test_a_vocabulary_may_spell_in_its_own_signs() -> None:
    vocabulary = Vocabulary.from_counts({"don\u2019t": 2, "cafe\u0301": 1})
    assert tokenize_input("Don't cafe\u0301, don\u2019t", vocabulary) == ["don\u2019t", "cafe\u0301", ",", "don\u2019t"]
