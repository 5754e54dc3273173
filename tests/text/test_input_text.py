"""Typed text meets the vocabulary, and comes out as typed."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstm_lm.text import input_text
from lstm_lm.text.input_text import detokenize, detokenize_continuation, split_partial_word, tokenize_input
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

TEXT = "don 't , . \" ' ( ) 1 @,@ 000 well @-@ known things he said the U.S. London i IT @.@ 3 5 's dogs"
WORDS = TEXT.split()
VOCABULARY = Vocabulary.from_counts(dict.fromkeys(WORDS, 1))


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
def test_typed_text_is_cut_to_meet_the_vocabulary(text: str, words: str) -> None:
    assert tokenize_input(text, VOCABULARY) == words.split()


@pytest.mark.parametrize(
    ("typed", "known"), [("The", "the"), ("london", "London"), ("I", "i"), ("it", "IT"), ("Xy", "Xy")]
)
def test_a_word_known_in_another_case_is_taken_in_that(typed: str, known: str) -> None:
    assert tokenize_input(typed, VOCABULARY) == [known]


def test_a_vocabulary_of_whole_words_is_met() -> None:
    vocabulary = Vocabulary.from_counts({"don't": 3, "well-known": 2, "1,000": 1})
    assert tokenize_input("(don't, well-known 1,000.", vocabulary) == ["(", "don't", ",", "well-known", "1,000", "."]


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
def test_what_goes_in_as_typed_comes_out_as_typed(text: str) -> None:
    vocabulary = Vocabulary.from_counts({"I": 2, "don": 1, "'t": 1, "@,@": 1, "dogs": 1})
    assert detokenize(tokenize_input(text, vocabulary)) == text


@given(
    st.lists(st.sampled_from(["don't", "1,000", "well-known", "3.5", "The", "zyzzyva", "it's", "(the", "end).", "no,"]))
)
def test_any_order_of_such_words_comes_out_as_typed(chunks: list[str]) -> None:
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
def test_a_prompt_goes_on_with_the_right_spaces(prompt: str, words: list[str], text: str) -> None:
    assert prompt + detokenize_continuation(prompt, words) == text


@given(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=12))
def test_a_stream_only_ever_appends(prompt: str, words: list[str]) -> None:
    """What is shown after n words is the beginning of what is shown after more, but for a trailing space."""
    shown = [detokenize_continuation(prompt, words[:n]) for n in range(len(words) + 1)]
    assert all(later.startswith(earlier.rstrip(" ")) for earlier, later in pairwise(shown))


@pytest.mark.parametrize("text", ["a" * 5000, "1" * 5000, "DOT" * 2000, "(" * 5000, "a" * 500 + "!" * 500])
def test_what_has_no_spaces_is_cut_in_short_parts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    class Watched(Tokenizer):
        def words(self, line: str) -> list[str]:
            nonlocal longest
            longest = max(longest, len(line))
            return super().words(line)

    monkeypatch.setattr(input_text, "_MOSES", Watched("moses"))
    assert "".join(tokenize_input(text, VOCABULARY)) == text
    assert detokenize_continuation(text, ["the"]).endswith("the")
    assert 0 < longest <= 200


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    words = tokenize_input(text, VOCABULARY)
    assert all(word and not any(char.isspace() for char in word) for word in words)
    detokenize(words)
    detokenize_continuation(text, words)


@pytest.mark.parametrize(
    ("prefix", "finished", "begun"),
    [
        ("well-kn", "well @-@", "kn"),
        ("Well-", "well @-@", ""),
        ("don'", "don", "'"),
        ("1,0", "1 @,@", "0"),
        ("1,", "1 @,@", ""),
        ("(th", "(", "th"),
        ('"', "", '"'),
        ("things he sa", "things he", "sa"),
        ("zyz", "", "zyz"),
    ],
)
def test_what_is_half_typed_is_cut_as_the_corpus_cuts_it(prefix: str, finished: str, begun: str) -> None:
    assert split_partial_word(prefix, VOCABULARY) == (finished.split(), begun)


@given(st.text(min_size=1, max_size=12).map(str.strip).filter(bool))
@example("\x1b0")
def test_the_rest_of_what_is_half_typed_ends_it(prefix: str) -> None:
    finished, begun = split_partial_word(prefix, VOCABULARY)
    assert prefix.endswith(begun)
    assert finished or begun == prefix
