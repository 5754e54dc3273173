"""Words that are never generated, by request or by the block list."""

from itertools import pairwise

import pytest
from helpers.small_models import PRESETS, small_network, small_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.errors import ConfigError
from lstm_lm.inference.banned_words import BannedWords, TokenForms, without_used
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.text.detokenize import detokenize

VOCABULARY = small_vocabulary()
FORMS = TokenForms(VOCABULARY)


def spelled(word: str) -> list[list[set[str]]]:
    return [[set(map(VOCABULARY.word, ids)) for ids in sequence] for sequence in FORMS.sequences(word)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("the", [[{"the", "The"}]]),
        ("THE", [[{"the", "The"}]]),
        ("-", [[{"-", "@-@"}]]),
        ("<unk>", [[{"<unk>"}]]),
        ("don't", [[{"don't"}], [{"don"}, {"'t"}]]),
        ("Don\u2019t", [[{"don't"}], [{"don"}, {"'t"}]]),
        ("well-known", [[{"well"}, {"@-@", "-"}, {"known"}]]),
        ("old town", [[{"old"}, {"town"}]]),
        ("zork", []),
        ("old zork", []),
    ],
)
def test_a_word_is_found_in_every_case_and_spelling(word: str, expected: list[list[set[str]]]) -> None:
    assert spelled(word) == expected


def test_words_that_cannot_be_generated_are_reported_with_close_matches() -> None:
    with pytest.raises(ConfigError) as caught:
        FORMS.require(["teh", "the", "londom", "zzzz"], "ban_tokens")
    problems = caught.value.problems
    assert len(problems) == 3
    assert "(got 'teh')" in problems[0]
    assert "'the'" in problems[0]
    assert "'London'" in problems[1]
    assert problems[2] == "ban_tokens: not in the vocabulary (got 'zzzz'); remove it"


def test_only_the_last_token_of_a_banned_word_is_banned() -> None:
    banned = BannedWords(FORMS.sequences("don't"), [3])
    don, t = VOCABULARY.id("don"), VOCABULARY.id("'t")
    assert banned.ids == tuple(sorted((3, VOCABULARY.id("don't"))))
    assert banned.after([1, don]) == [t]
    assert banned.after([don, 1]) == banned.after([]) == []


def test_words_of_the_prompt_are_not_blocked() -> None:
    sequences = [*FORMS.sequences("the"), *FORMS.sequences("don't")]
    ids = VOCABULARY.encode(["The", "don", "cat"])
    assert without_used(sequences, ids) == FORMS.sequences("don't")
    assert without_used(sequences, VOCABULARY.encode(["don", "'t"])) == sequences[:2]


def blocking_engine(*blocked: str) -> Engine:
    return Engine(TorchBackend(small_network()), VOCABULARY, PRESETS, "balanced", blocked=blocked)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_generated_text_never_has_a_banned_word(seed: int) -> None:
    sampling = SamplingConfig(seed=seed, ban_tokens=["The", "well-known", "DON'T", ","])
    text = blocking_engine("cat", "old town").generate("I", sampling, 60)
    assert not {"the", "The", "don't", ",", "@,@", "cat"} & set(text.words)
    shown = detokenize(text.words).casefold()
    assert not any(word in shown for word in ("well-known", "old town"))
    assert ("don", "'t") not in pairwise(text.words)


def test_a_blocked_word_is_generated_only_after_a_prompt_that_has_it() -> None:
    engine = blocking_engine("Cat")
    nearly_uniform = SamplingConfig(temperature=100.0, seed=1)
    assert "cat" in engine.generate("the CAT", nearly_uniform, 300).words
    assert "cat" not in engine.generate("the cats", nearly_uniform, 300).words


def test_a_blocked_word_is_never_suggested() -> None:
    engine = blocking_engine("Cat", "zork", "well-known")
    shown = {suggestion.word for suggestion in engine.predict("the", 99).suggestions}
    assert {"cats", "known"} <= shown
    assert "cat" not in shown
    assert {s.word for s in engine.predict("the", 9, "ca").suggestions if s.word.startswith("ca")} == {"cats"}
    assert "well-known" not in {s.word for s in engine.predict("the", 9, "well-kn").suggestions}
    assert engine.predict("A Zork is", 9, "zo", cache=CacheConfig()).suggestions == ()
