"""Suggestions: prefixes, case, filters, word lists and the neural cache."""

import numpy as np
import pytest
from helpers.small_models import WORDS, small_engine, small_vocabulary
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.prediction_request import Prediction
from lstm_lm.text.candidates import is_word
from lstm_lm.text.completion import has_prefix, normalized

ENGINE = small_engine()
VOCABULARY = small_vocabulary()
SPECIAL = {"<unk>", "<eos>"}

texts = st.lists(st.sampled_from([*WORDS, "Zork", "zyzzyva", "\n"]), max_size=8).map(" ".join)
prefixes = st.sampled_from(["", "t", "T", "TH", "th", "lon", "c", "'", "-", "z", "Zo", "1", "q"])
word_lists = st.lists(st.sampled_from([*WORDS, "THE", "zork", "ZYZZYVA", "nowhere", "-"]), max_size=12)
weights = st.sampled_from([0.0, 1.0]) | st.floats(0.01, 0.99)
caches = st.none() | st.builds(CacheConfig, weight=weights, theta=st.floats(0.0, 2.0), window=st.integers(0, 9))


def probs(prediction: Prediction) -> dict[str, float]:
    shown = {s.word: s.probability for s in prediction.suggestions}
    assert len(shown) == len(prediction.suggestions), "a text is suggested twice"
    return shown


def by_key(shown: dict[str, float]) -> dict[str, float]:
    summed: dict[str, float] = {}
    for word, prob in shown.items():
        summed[normalized(word)] = summed.get(normalized(word), 0.0) + prob
    return summed


def close(actual: dict[str, float], expected: dict[str, float]) -> bool:
    return actual.keys() == expected.keys() and all(actual[w] == pytest.approx(expected[w], rel=1e-6) for w in actual)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ca", ["cat", "cats"]),
        ("CA", ["CAT", "CATS"]),
        ("lon", ["London"]),
        ("Lon", ["London"]),
        ("th", ["the", "that", "they", "theatre"]),
        ("Th", ["The", "That", "They", "Theatre"]),
        ("mcd", ["McDonald"]),
        ("Mcd", ["McDonald"]),
        ("I", ["I", "In", "It"]),
        ("-", ["-"]),
        ("<", []),
        ("zz", []),
    ],
)
def test_prefix_selects_words_and_keeps_typed_case(prefix: str, expected: list[str]) -> None:
    suggestions = [s for s in ENGINE.predict("I want", 20, prefix).suggestions if has_prefix(s.word, prefix)]
    assert sorted(s.word for s in suggestions) == sorted(expected)
    suggestions = [s for s in suggestions if s.word != prefix]  # a word that is typed in full comes last
    assert [s.probability for s in suggestions] == sorted((s.probability for s in suggestions), reverse=True)


@pytest.mark.parametrize(
    "text", ["", "  ", "cats.", "cats. ", 'he said "cats."', "cats!", "cats?!", "cats\n", '"', "("]
)
def test_sentence_start_is_capitalized(text: str) -> None:
    shown = probs(ENGINE.predict(text, 99))
    assert {"The", "That", "Cats", "McDonald", "I", "'s", "1", "-"} <= shown.keys()
    assert not {"the", "that", "cats"} & shown.keys()
    assert probs(ENGINE.predict(text, 9, "th")).keys() == {"The", "That", "They", "Theatre"}


@pytest.mark.parametrize("text", ["the", "the,", "Mr. the", '"the', "1.5"])
def test_case_is_unchanged_within_a_sentence(text: str) -> None:
    shown = probs(ENGINE.predict(text, 99)).keys()
    assert "cats" in shown
    assert len({"the", "The"} & shown) == 1  # the more probable one


@pytest.mark.parametrize(
    ("text", "prefix", "shown"),
    [
        ("the", "well-kn", ["well-known"]),
        ("the", "(ca", ["(cat", "(cats"]),
        ("the", "cat'", ["cat's"]),
        ("the.", '"mcd', ['"McDonald']),
        ("", '"ca', ['"Cat', '"Cats']),
        ("the", "I wan", ["I want"]),
        ("the", "zork-ri", ["zork-river"]),
    ],
)
def test_prefix_may_contain_punctuation(text: str, prefix: str, shown: list[str]) -> None:
    prediction = ENGINE.predict(text, 9, prefix)
    assert sorted(word for word in probs(prediction) if has_prefix(word, prefix)) == sorted(shown)
    assert sum(probs(prediction).values()) == pytest.approx(1.0)
    assert prediction.unknown_words == ()


@given(texts, prefixes, st.booleans(), st.none() | word_lists, word_lists, caches)
@settings(deadline=None)
def test_filters_keep_ratios_and_renormalize(
    text: str, prefix: str, words_only: bool, allow: list[str] | None, deny: list[str], cache: CacheConfig | None
) -> None:
    assume(not prefix.startswith("'"))  # may open a quote, which lists ignore
    everything = probs(ENGINE.predict(text, 10**6, prefix, cache=cache))
    allowed = None if allow is None else {normalized(word) for word in allow}
    denied = {normalized(word) for word in deny}
    kept = {
        word: prob
        for word, prob in everything.items()
        if (is_word(word) or not words_only)
        and (allowed is None or normalized(word) in allowed)
        and normalized(word) not in denied
    }
    shown = probs(ENGINE.predict(text, 10**6, prefix, words_only=words_only, allow=allow, deny=deny, cache=cache))
    total = sum(kept.values())
    assert close(shown, {word: prob / total for word, prob in kept.items()})
    if everything:
        assert sum(everything.values()) == pytest.approx(1.0)
    if shown:
        assert sum(shown.values()) == pytest.approx(1.0)


@given(texts, prefixes, caches)
@settings(deadline=None)
def test_prefix_selects_from_all_suggestions(text: str, prefix: str, cache: CacheConfig | None) -> None:
    everything, completed = (probs(ENGINE.predict(text, 10**6, p, cache=cache)) for p in ("", prefix))
    assume(not prefix.startswith("'"))  # may open a quote
    completed = {word: prob for word, prob in completed.items() if has_prefix(word, prefix)}  # no corrections
    share = sum(completed.values())
    folded = [
        (word.casefold(), prob) for word, prob in everything.items() if normalized(word).startswith(prefix.lower())
    ]
    total = sum(prob for _, prob in folded)
    expected = {word: sum(p for w, p in folded if w == word) / total for word, _ in folded}
    assert {word.casefold() for word in completed} == expected.keys()
    for word, expected_prob in expected.items():
        prob = sum(p for w, p in completed.items() if w.casefold() == word)
        assert prob / share == pytest.approx(expected_prob, rel=1e-6)


@given(texts, prefixes, st.integers(1, 60), caches)
@settings(deadline=None)
def test_smaller_k_gives_a_prefix_of_the_suggestions(text: str, prefix: str, k: int, cache: CacheConfig | None) -> None:
    everything = ENGINE.predict(text, 10**6, prefix, cache=cache).suggestions
    assert ENGINE.predict(text, k, prefix, cache=cache).suggestions == everything[:k]


def test_both_cases_of_a_word_are_one_suggestion() -> None:
    everything = probs(ENGINE.predict("I", 99))
    assert len(by_key(everything)) == len(everything)
    (the,) = {"the", "The"} & everything.keys()
    share = sum(prob for word, prob in everything.items() if word.casefold().startswith("the"))
    for prefix, shown in (("the", the), ("The", "The"), ("THE", "THE")):
        assert probs(ENGINE.predict("I", 9, prefix))[shown] == pytest.approx(everything[the] / share, rel=1e-6)


def test_learnt_words_and_their_cases_are_one_suggestion() -> None:
    learnt = probs(ENGINE.predict("Zork saw zork and ZORK. He saw cat and CAT and", 99, cache=CacheConfig()))
    assert len({"Zork", "zork", "ZORK"} & learnt.keys()) == len({"cat", "CAT"} & learnt.keys()) == 1
    assert {"CAT", "cat"} & probs(ENGINE.predict("I", 99, user_words={"CAT": 1e9})).keys() == {"CAT"}


def test_word_lists_ignore_case_and_deny_overrides_allow() -> None:
    everything = probs(ENGINE.predict("I", 99))
    allowed = probs(ENGINE.predict("I", 9, allow=["THE", "Cat", "nowhere"]))
    (the,) = {"the", "The"} & everything.keys()
    assert allowed.keys() == {the, "cat"}
    assert allowed[the] / allowed["cat"] == pytest.approx(everything[the] / everything["cat"])
    assert probs(ENGINE.predict("I", 9, allow=["the", "cat"], deny=["The"])).keys() == {"cat"}
    assert probs(ENGINE.predict("I", 99, deny=["-"])).keys() & {"-", "@-@"} == set()
    assert ENGINE.predict("I", 9, allow=[]).suggestions == ()
    assert ENGINE.predict("I", 9, allow=["cat"], deny=["cat"]).suggestions == ()


def test_words_only_excludes_punctuation_and_symbols() -> None:
    shown = probs(ENGINE.predict("I", 99, words_only=True)).keys()
    assert not shown & set(',."-()')
    assert {"the", "1", "000", "'s", "don't"} <= shown


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ENGINE.predict("I", 0, cache=CacheConfig(weight=1.5, theta=float("nan"), window=-1))
    fields = [problem.partition(":")[0] for problem in caught.value.problems]
    assert fields == ["cache.weight", "cache.theta", "cache.window", "k"]


def test_cache_suggests_oov_words_in_their_spelling() -> None:
    text = "McDonald saw Zyzzyva. They saw"
    assert "Zyzzyva" not in probs(ENGINE.predict(text, 99))
    assert "Zyzzyva" in probs(ENGINE.predict(text, 99, cache=CacheConfig()))
    for prefix, shown in {"Zy": "Zyzzyva", "zy": "Zyzzyva", "ZY": "ZYZZYVA"}.items():
        assert probs(ENGINE.predict(text, 3, prefix, cache=CacheConfig())) == {shown: 1.0}
    assert probs(ENGINE.predict(text, 9, "z", cache=CacheConfig(), deny=["ZYZZYVA"])) == {}
    assert probs(ENGINE.predict("the ☃ of", 99, cache=CacheConfig(), words_only=True)).keys() & {"☃"} == set()
    assert probs(ENGINE.predict("the zork.", 9, "z", cache=CacheConfig())) == {"Zork": 1.0}


@given(texts, texts)
@settings(deadline=None)
def test_cache_does_not_leak_between_requests(first: str, second: str) -> None:
    expected = small_engine().predict(second, 99, cache=CacheConfig())
    ENGINE.predict(first, 99, cache=CacheConfig())
    assert ENGINE.predict(second, 99, cache=CacheConfig()) == expected


def test_weight_0_is_the_model_and_weight_1_is_the_cache() -> None:
    text = "the Zork of"
    assert close(probs(ENGINE.predict(text, 99, cache=CacheConfig(weight=0.0))), probs(ENGINE.predict(text, 99)))
    assert probs(ENGINE.predict(text, 99, cache=CacheConfig(weight=1.0))).keys() == {"the", "Zork", "of"}
    assert ENGINE.predict(text, 99, "c", cache=CacheConfig(weight=1.0)).suggestions == ()


def test_mixture_matches_the_paper() -> None:
    words, config = ["the", "Zork", "saw", "the"], CacheConfig(weight=0.3, theta=0.5)
    ids = np.array([[VOCABULARY.eos_id, *VOCABULARY.encode(words)]])
    features, logits, _ = ENGINE.backend.prefill(ids, ENGINE.backend.initial_state(1))
    model = np.exp(logits.astype(np.float64))
    model *= 0.7 / model.sum()
    weights = np.exp([0.5 * float(features[i] @ features[-1]) for i in range(4)])
    weights *= 0.3 / weights.sum()
    expected = {
        # with "The"
        "the": model[VOCABULARY.encode(["the", "The"])].sum() + weights[0] + weights[3],
        "Zork": weights[1],
        "saw": model[VOCABULARY.id("saw")] + weights[2],
        "cat": model[VOCABULARY.id("cat")],
    }
    allowed = 1.0 - model[VOCABULARY.unk_id] - model[VOCABULARY.eos_id]
    shown = probs(ENGINE.predict(" ".join(words), 99, cache=config))
    assert {word: shown[word] for word in expected} == pytest.approx(
        {word: prob / allowed for word, prob in expected.items()}, rel=1e-5
    )
