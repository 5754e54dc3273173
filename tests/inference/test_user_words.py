"""A person's own words and earlier texts, which come with each request."""

import gc
import logging
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from helpers.small_models import small_engine, small_vocabulary
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.prediction import predict_batch
from lstm_lm.inference.prediction_request import PredictionRequest
from lstm_lm.inference.user_words import HALF, MAX_SHARE, MAX_USER_WORDS, add_user_words

ENGINE = small_engine()
VOCABULARY = small_vocabulary()


def suggest(text: str, prefix: str = "", k: int = 3, **options: Any) -> list[str]:
    return [suggestion.word for suggestion in ENGINE.predict(text, k, prefix, **options).suggestions]


@given(st.dictionaries(st.sampled_from(["the", "Zork", "zyx"]), st.floats(0.1, 1e6), min_size=1))
def test_the_mixture_is_the_documented_one_and_keeps_the_sum(words: dict[str, float]) -> None:
    probs, oov = np.array([0.5, 0.2]), {"Zork": 0.3}
    mixed, own = add_user_words(probs, oov, words)
    total = sum(words.values())
    share = MAX_SHARE * total / (total + HALF)
    assert mixed == pytest.approx((1.0 - share) * probs)
    for word in {*words, *oov}:
        expected = (1.0 - share) * oov.get(word, 0.0) + share * words.get(word, 0.0) / total
        assert own[word] == pytest.approx(expected)
    assert mixed.sum() + sum(own.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("prefix", "first"),
    [
        ("sio", "Siobhán"),
        ("Sio", "Siobhán"),
        ("SIO", "SIOBHÁN"),
        ("zo", "ZoomQ"),
        ("ko-f", "ko-fi"),
        ("Siobha", "Siobhán"),
    ],
)
def test_a_name_is_found_by_its_prefix_in_its_own_case(prefix: str, first: str) -> None:
    words = {"Siobhán": 2, "ZoomQ": 1, "ko-fi": 1, "the": 5}
    assert suggest("I want", prefix, user_words=words)[0] == first
    assert first not in suggest("I want", prefix)


def test_decomposed_and_curly_words_are_read_like_others() -> None:
    assert suggest("I want", "sio", user_words={"Siobha\u0301n": 1})[0] == "Siobh\u00e1n"
    assert suggest("I want", "o\u2019ma", user_words={"O'Mara": 1})[0] == "O\u2019Mara"


def test_a_frequent_word_rises_and_one_use_changes_little() -> None:
    before = {s.word: s.probability for s in ENGINE.predict("I", 99).suggestions}
    often = {s.word: s.probability for s in ENGINE.predict("I", 99, user_words={"cats": 1000}).suggestions}
    once = {s.word: s.probability for s in ENGINE.predict("I", 99, user_words={"cats": 1}).suggestions}
    assert often["cats"] > before["cats"] + 0.05
    assert once["cats"] == pytest.approx(before["cats"], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"two words": 1}, "one word"),
        ({"": 1}, "one word"),
        ({"a": 0}, "above 0"),
        ({"a": float("nan")}, "above 0"),
        ({"a": float("inf")}, "above 0"),
        ({f"w{i}": 1 for i in range(MAX_USER_WORDS + 1)}, "at most 5000"),
    ],
)
def test_wrong_words_are_an_error(words: dict[str, float], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ENGINE.predict("I", user_words=words)


def test_filters_apply_to_user_words() -> None:
    words = {"Zork": 9, "☃": 9}
    assert "Zork" not in suggest("I", "zo", 9, user_words=words, deny=["zork"])
    assert suggest("I", "", 9, user_words=words, allow=["zork"]) == ["Zork"]
    assert "☃" not in suggest("I", "", 99, user_words=words, words_only=True)


def test_earlier_texts_are_read_for_the_cache_only() -> None:
    recent = ["I saw Zork.", "Zork went home"]
    assert suggest("they saw", "zo", recent=recent)[0] == "Zork"
    assert suggest("", "zo", recent=recent)[0] == "Zork"
    assert "Zork" not in suggest("they saw", "zo")
    # without the cache, the network reads the text alone
    off = CacheConfig(weight=0.0)
    assert (
        ENGINE.predict("they saw", 99, recent=recent, cache=off).suggestions
        == ENGINE.predict("they saw", 99).suggestions
    )
    assert ENGINE.predict("they saw", 9, recent=recent).unknown_words == ()


def test_earlier_texts_and_the_text_are_one_history() -> None:
    """The cache's distribution over all words, with the states that each text was read with."""
    config = CacheConfig(weight=1.0, theta=0.5)
    shown = {
        s.word: s.probability for s in ENGINE.predict("cat saw", 99, recent=["Zork went"], cache=config).suggestions
    }
    backend = ENGINE.backend

    def features(words: list[str]) -> Any:
        ids = np.array([[VOCABULARY.eos_id, *VOCABULARY.encode(words)]])
        return backend.prefill(ids, backend.initial_state(1))[0].astype(np.float64)

    earlier, own = features(["Zork", "went", "<eos>"]), features(["cat", "saw"])
    states = [*earlier[:3], *own[:2]]
    weights = np.exp([0.5 * float(state @ own[2]) for state in states])
    by_word = dict(zip(["Zork", "went", "<eos>", "cat", "saw"], weights, strict=True))
    del by_word["<eos>"]
    assert shown == pytest.approx({word: weight / sum(by_word.values()) for word, weight in by_word.items()}, rel=1e-5)


def test_long_histories_are_read_in_parts() -> None:
    request = PredictionRequest("the cat", 5, recent=["I saw the Zork . " * 30])
    pending = ENGINE.prepare(request)
    steps = 0
    while pending.prefill(ENGINE.backend, 16):
        steps += 1
    assert steps > 5
    expected = ENGINE.predict("the cat", 5, recent=request.recent)
    assert predict_batch(ENGINE.backend, [pending])[0].suggestions == expected.suggestions


def test_nothing_is_kept_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    engine = small_engine()
    with caplog.at_level(logging.DEBUG):
        name = f"Qui{uuid4().hex}"  # no source line has it
        shown = engine.predict("I saw", 3, "qui", user_words={name: 3}, recent=[f"{name}bis went home"]).suggestions
        assert name in {suggestion.word for suggestion in shown}
    assert name not in caplog.text
    del shown
    gc.collect()
    strings = [x for obj in gc.get_objects() if type(obj) in (dict, list, tuple, set) for x in _strings(obj)]
    kept = {text for text in strings if name in text}
    assert kept <= {name}, "only this test's own variable"
    assert not engine.predict("I saw", 9, name[:6]).suggestions


def _strings(container: Any) -> list[str]:
    try:
        items = [*container, *container.values()] if isinstance(container, dict) else list(container)
    except RuntimeError:
        return []
    return [item for item in items if type(item) is str]
