"""Text as people type it: every kind of sign, spelling and mistake, on a vocabulary in WikiText's spelling."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

# frequent words first; counts decide what is suggested, as the model below knows no context
LINE = """
the , . and I you it that he to is 's a " ' ( ) @-@ @,@ : ... 't we they this in on built have 'm don ill can done
what doesn isn 're 'll cant then them important image well known illness hesitant her Canterbury Illinois data Don
Python put tomorrow receive received relief Beyoncé Zoë Zoe café be been there house joe @ https / / / 10 30 1 000
works O 'Brien 'Brady cat dog use Use WHAT recieve
"""
WORDS = list(dict.fromkeys([*LINE.split(), UNK, EOS]))
VOCABULARY = Vocabulary(WORDS, [10_000 // (rank + 1) for rank in range(len(WORDS))])


class UnigramBackend:
    """Predicts words by their count, whatever the text."""

    vocab_size = len(VOCABULARY)
    _logits = np.log(np.array(VOCABULARY.counts)).astype(np.float32)

    def initial_state(self, batch_size: int) -> tuple[NDArray[np.float32], ...]:
        return (np.zeros((batch_size, 2), np.float32),) * 2

    def step(self, input_ids: NDArray[np.int64], state: Any) -> tuple[NDArray[np.float32], Any]:
        return np.repeat(self._logits[None], len(input_ids), 0), state

    def prefill(self, input_ids: NDArray[np.int64], state: Any) -> tuple[Any, Any, Any]:
        return np.zeros((input_ids.shape[1], 2), np.float32), self._logits, state

    def last_features(self, state: Any) -> NDArray[np.float32]:
        return np.asarray(state[0], np.float32)


ENGINE = Engine(UnigramBackend(), VOCABULARY, {"balanced": SamplingConfig()}, "balanced")


def suggest(text: str, prefix: str = "", k: int = 3, **options: Any) -> list[str]:
    return [suggestion.word for suggestion in ENGINE.predict(text, k, prefix, **options).suggestions]


@pytest.mark.parametrize("sign", ["'", "\u2019", "\u02bc", "\uff07"])
@pytest.mark.parametrize("prefix", ["don{}t", "don{}", "doesn{}", "isn{}t", "I{}", "I{}m", "it{}", "you{}r", "that{}s"])
def test_suggestions_have_the_apostrophe_that_was_typed(prefix: str, sign: str) -> None:
    straight = suggest("", prefix.format("'"), 9, words_only=True)
    assert straight
    assert suggest("", prefix.format(sign), 9, words_only=True) == [word.replace("'", sign) for word in straight]


@pytest.mark.parametrize("sign", ["\u2019", "\u02bc", "\uff07"])
def test_the_text_shows_which_apostrophe_is_typed(sign: str) -> None:
    assert suggest(f"It{sign}s what I ", "don")[0] == f"don{sign}t"
    assert ENGINE.predict(f"it{sign}s").suggestions == ENGINE.predict("it's").suggestions
    assert ENGINE.unknown_words(f"it{sign}s what I don{sign}t") == ()


@pytest.mark.parametrize(
    ("text", "prefix"), [("", "cafe\u0301"), ("the ", "Beyonce\u0301"), ("cafe\u0301 ", "th"), ("cafe\u0301", "")]
)
def test_decomposed_letters_are_composed(text: str, prefix: str) -> None:
    composed = text.replace("e\u0301", "é"), prefix.replace("e\u0301", "é")
    assert suggest(text, prefix) == suggest(*composed)
    assert ENGINE.unknown_words(text) == ()


def test_lists_and_learnt_names_are_composed_too() -> None:
    assert suggest("", "caf", allow=["cafe\u0301"]) == suggest("", "caf", allow=["café"]) == ["Café"]
    assert "café" not in suggest("the ", "caf", 9, deny=["cafe\u0301"])
    learnt = suggest("Rene\u0301e saw Renée. She saw ", "ren", cache=CacheConfig())
    assert learnt[0] == "Renée"


@pytest.mark.parametrize(
    ("text", "prefix", "denied"),
    [
        ("I ", "don'", "don't"),
        ("I ", "don\u2019", "don't"),
        ("I ", "don'", "don\u2019t"),
        ("I ", "don", "DON'T"),
        ("I ", "dont", "don't"),
        ("it is ", "built-", "built-in"),
        ("it is ", "(built-", "built-in"),
        ("the ", "(th", "the"),
        ("the ", "the", "they"),
        ("the ", "cat'", "cat's"),
        ("the ", "Beyonce", "Beyoncé"),
        ("the ", "tomorow", "tomorrow"),
    ],
)
def test_a_list_means_the_word_that_would_be_shown(text: str, prefix: str, denied: str) -> None:
    def key(word: str) -> str:
        return word.replace("\u2019", "'").lstrip("(").lower()

    everything = list(map(key, suggest(text, prefix, 999)))
    assert key(denied) in everything
    # corrections may fill the place of a denied word
    left = set(map(key, suggest(text, prefix, 999, deny=[denied])))
    assert left >= set(everything) - {key(denied)}
    assert key(denied) not in left
    assert set(map(key, suggest(text, prefix, 999, allow=[denied]))) == {key(denied)}


def test_a_part_of_the_word_that_would_be_shown_is_not_on_the_list() -> None:
    assert "built-in" in suggest("it is ", "built-", 999, deny=["in"])
    assert "don't" in suggest("I ", "don", 99, deny=["don"])


def test_allow_gives_one_entry_per_word_and_keeps_new_words() -> None:
    assert suggest("I", "", 9, allow=["use", "Use"]) == suggest("I", "", 9, allow=["USE"]) == ["use"]
    assert set(suggest("a Zyx is", "", 9, allow=["zyx", "the"], cache=CacheConfig())) == {"Zyx", "the"}


@pytest.mark.parametrize("text", ["He said ", "", "He said\n"])
@pytest.mark.parametrize("quote", ['"', "'", "\u2018"])
def test_a_quote_opens_before_a_word(text: str, quote: str) -> None:
    words = suggest(text, "th", 9)
    assert len(words) > 3
    own = "\u2019" if quote == "\u2018" else "'"
    assert suggest(text, f"{quote}th", 9) == [quote + word.replace("'", own) for word in words]


def test_an_apostrophe_after_a_space_opens_a_quote() -> None:
    assert suggest("He said ", "'")[0] == "'the"
    assert set(suggest("I", "'", 9)) >= {"'m", "'ll"}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("doesn", "doesn't"), ("don", "don't"), ("isn", "isn't"), ("don'", "don't"), ("doesn't", "doesn't"),
        ("dont", "don't"), ("cant", "can't"), ("im", "I'm"), ("ill", "I'll"), ("hes", "he's"), ("youre", "you're"),
        ("its", "it's"), ("IM", "I'M"), ("whats", "what's"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("words_only", [True, False])
def test_a_contraction_is_among_three(prefix: str, expected: str, words_only: bool) -> None:
    assert expected in suggest("I ", prefix, words_only=words_only)


def test_words_that_begin_after_a_space_are_no_endings() -> None:
    endings = {"'s", "'re", "'m", "'t", "'ll"}
    assert endings <= set(suggest("you", "", 99, words_only=True))
    assert endings <= set(suggest("you ", "", 99))
    for text in ("you ", "", "you\n"):
        assert not endings & set(suggest(text, "", 99, words_only=True))
    assert "you're" in suggest("it ", "you", 99, words_only=True)


@pytest.mark.parametrize(("prefix", "word"), [("cant", "cant"), ("ill", "ill"), ("its", "it's"), ("well", "well")])
def test_the_word_of_that_spelling_stays(prefix: str, word: str) -> None:
    assert word in suggest("I ", prefix, 9)


def test_a_fragment_of_a_contraction_is_no_suggestion() -> None:
    shown = set(suggest("I", "", 99))
    assert {"don't", "doesn't", "isn't", "I'm"} <= shown
    assert not {"don", "doesn", "isn"} & shown


@pytest.mark.parametrize("prefix", ["don'", "data'", "the'", "O'", "O'B", "cat'", "Beyoncé'"])
def test_only_what_english_joins_is_joined(prefix: str) -> None:
    allowed = {
        "don'": {"don't"}, "data'": {"data's"}, "the'": {"the's"}, "O'": {"O's", "O'Brien", "O'Brady"},
        "O'B": {"O'Brien", "O'Brady"}, "cat'": {"cat's"}, "Beyoncé'": {"Beyoncé's"},
    }  # fmt: skip
    assert set(suggest("the ", prefix, 99, words_only=True)) == allowed[prefix]


@pytest.mark.parametrize("sign", ["\u00ad", "\u200b", "\ufe0f", "\u200d", "\ufeff", "\u2060", "\u200e"])
def test_ignorable_characters_are_ignored_and_stay_in_the_text(sign: str) -> None:
    assert suggest("the ", f"t{sign}h{sign}") == suggest("the ", "th")
    assert suggest(f"the c{sign}at{sign} ", "th") == suggest("the cat ", "th")
    assert ENGINE.unknown_words(f"{sign}the c{sign}at") == ()
    greedy = SamplingConfig(strategy="greedy")
    assert ENGINE.generate(f"the{sign} cat", greedy, 1).text.startswith(f"the{sign} cat")
    (best,) = ENGINE.predict("the ", 1, f"t{sign}h").suggestions
    assert best.replaces == 3


@pytest.mark.parametrize(
    "prefix", ["joe@", "joe@the", "https://", "https://t", "10:", "10:3", "to...", "to...th", "#th", "@th", "1,", "a_b"]
)
def test_inside_an_address_or_time_nothing_is_suggested(prefix: str) -> None:
    assert suggest("the ", prefix, 9) == []


def test_a_number_continues_with_digits() -> None:
    assert suggest("the ", "1,0") == ["1,000"]


@pytest.mark.parametrize(
    ("prefix", "expected"), [("Beyonce", "Beyoncé"), ("beyonc", "Beyoncé"), ("Zoe", "Zoë"), ("cafe", "café")]
)
def test_accents_may_be_left_out(prefix: str, expected: str) -> None:
    assert expected in suggest("the ", prefix)


def test_words_that_match_exactly_come_before_words_with_other_accents() -> None:
    assert suggest("the ", "Zoe", typed_word="ranked")[:2] == ["Zoe", "Zoë"]


@pytest.mark.parametrize(
    ("prefix", "first"),
    [("tomorow", "tomorrow"), ("recieve", "received"), ("teh", "the"), ("Teh", "The"), ("thre", "the")],
)
def test_a_mistyped_word_is_corrected(prefix: str, first: str) -> None:
    assert first in suggest("to ", prefix)


def test_corrections_follow_every_exact_match_and_only_fill_three_places() -> None:
    suggestions = ENGINE.predict("the ", 9, "illn").suggestions
    assert suggestions[0].word == "illness"
    assert suggest("the ", "the", 99, typed_word="ranked")[:4] == ["the", "they", "then", "them"]
    assert all(word.startswith("the") for word in suggest("the ", "the", 99))
    assert sum(suggestion.probability for suggestion in suggestions) == pytest.approx(1.0)


@pytest.mark.parametrize("prefix", ["pYT", "pyt", "Pyt"])
def test_stray_capitals_do_not_spread(prefix: str) -> None:
    assert suggest("the ", prefix)[0] == "Python"


def test_a_typed_line_end_is_text() -> None:
    assert ENGINE.predict("I typed <eos>", 9).suggestions == ENGINE.predict("I typed < eos >", 9).suggestions
    assert "eos" in ENGINE.unknown_words("typed <eos> here")
    assert suggest("typed <eos> ")[0] == "the"  # no start of a sentence


def test_emoji_after_a_sentence_keep_its_end() -> None:
    assert suggest("It works. 🎉 ")[0] == "The"
    assert suggest("It works. 👍🏽❤️ ")[0] == "The"
    assert suggest("It works 🎉 ")[0] == "the"


@pytest.mark.parametrize(
    ("text", "prefix", "shown", "hidden"),
    [
        ("they ", "us", "use", "Use"),
        ("I ", "dont", "don't", "Don't"),
        ("I ", "don", "done", "Done"),
        ("the ", "zo", "Zoe", "zoe"),
        ("", "us", "Use", "use"),
    ],
)
def test_a_word_is_suggested_once_in_its_more_probable_case(text: str, prefix: str, shown: str, hidden: str) -> None:
    words = suggest(text, prefix, 99)
    assert shown in words
    assert hidden not in words
    assert len({word.casefold() for word in words}) == len(words)


def test_the_typed_case_is_evidence() -> None:
    assert suggest("I ", "use", 9, typed_word="ranked")[0] == "use"
    assert "Zoe" in suggest("the ", "Zo", 9)
    assert suggest("the ", "rece", 9, allow=["RECEIVE"]) == ["receive"]


def test_capitals_are_suggested_where_they_are_typed() -> None:
    assert suggest("I ", "wh", 1) == ["what"]
    assert suggest("I ", "WH", 1) == ["WHAT"]
    assert "WHAT" not in suggest("I ", "W", 99)


def test_a_correction_repeats_no_exact_match() -> None:
    assert suggest("I ", "dont", 9).count("don't") == 1


def test_a_word_typed_in_full_has_the_last_place() -> None:
    assert suggest("on ", "the") == ["they", "then", "them"]
    assert suggest("on ", "the", 9)[-1] == "the"
    assert suggest("on ", "the", typed_word="ranked") == ["the", "they", "then"]
    assert "the" not in suggest("on ", "the", 9, typed_word="never")
    assert suggest("on ", "recieve") == ["receive", "received", "recieve"]  # after its corrections, too
    assert suggest("", "the", 9)[0] == "The"  # not what was typed


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("I wan", ("I ", "wan")),
        ("I th", ("I ", "th")),
        ("I don\u2019", ("I ", "don\u2019")),
        ("th", ("", "th")),
        ("it is built-", ("it is ", "built-")),
        ("the cat ", ("the cat ", "")),
        ("It works.", ("It works.", "")),
    ],
)
def test_split_takes_the_half_typed_word(text: str, parts: tuple[str, str]) -> None:
    assert ENGINE.predict(text, 9, split=True) == ENGINE.predict(parts[0], 9, parts[1])


@pytest.mark.parametrize(
    ("text", "word", "replaces"),
    [
        ("the th\u200b", "the", 3),
        ("the cafe\u0301", "café", 5),
        ("the cat \u2764\ufe0f", "the", 0),
        ("the 1\ufe0f\u20e3", "the", 0),
    ],
)
def test_split_ignores_what_is_not_seen(text: str, word: str, replaces: int) -> None:
    best, *_ = ENGINE.predict(text, 9, split=True, words_only=True).suggestions
    assert (best.word, best.replaces) == (word, replaces)


@pytest.mark.parametrize(
    ("text", "prefix", "word", "result"),
    [
        ("I want", "", "the", "I want the"),
        ("I want ", "", "the", "I want the"),
        ("I want ", "th", "the", "I want the"),
        ("I want", "th", "the", "I want the"),
        ("I ", "don\u2019", "don\u2019t", "I don\u2019t"),
        ("I ", "", "'m", "I'm"),
        ("I", "'", "'m", "I'm"),
        ("the cat ", "", ",", "the cat,"),
        ("the cat", "", ".", "the cat."),
        ("He said ", '"th', '"the', 'He said "the'),
        ('He said "', "", "the", 'He said "the'),
        ('He said "the', "", '"', 'He said "the"'),
        ("He said", "", '"', 'He said "'),
        ("", "", "The", "The"),
        ("The end.\n", "", "The", "The end.\nThe"),
        ("built-", "", "in", "built-in"),
        ("it is ", "built-i", "built-in", "it is built-in"),
        ("a (", "", "the", "a (the"),
        ("a 😀😀", "teh", "the", "a 😀😀 the"),
        ("I ", "te\u00adh", "the", "I the"),
    ],
)
def test_a_suggestion_says_how_it_joins_the_text(text: str, prefix: str, word: str, result: str) -> None:
    found = {s.word: s for s in ENGINE.predict(text, 999, prefix, typed_word="ranked").suggestions}[word]
    full = text + prefix
    assert full[: len(full) - found.replaces] + found.text == result
    assert found.text.strip() == word
    assert found.space_before == (result.removesuffix(word)[-1:] == " ")
