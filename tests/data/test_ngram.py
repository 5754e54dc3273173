"""The n-gram model: by the formula, normalized, causal."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.data.ngram import DISCOUNT_FALLBACK, KneserNeyNgram, discounts_of

VOCAB_SIZE, EOS = 7, 2


def stream(length: int, seed: int = 0) -> np.ndarray:
    """Word ids with a skewed distribution, of the first six words."""
    return np.random.default_rng(seed).choice(6, size=length, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04]).astype(np.int32)


def by_hand(train: np.ndarray, order: int, context: list[int], word: int) -> float:
    """The probability by the formula, from dictionaries of tuples."""
    padded = [EOS] * (order - 1) + train.tolist()
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for end in range(order - 1, len(padded)):
        counts[tuple(padded[end - order + 1 : end + 1])] += 1
    by_order = {order: counts}
    for n in range(order - 1, 0, -1):
        by_order[n] = defaultdict(int)
        for ngram in by_order[n + 1]:
            by_order[n][ngram[1:]] += 1

    def prob(n: int, history: tuple[int, ...]) -> float:
        if n == 0:
            return 1 / VOCAB_SIZE
        lower = prob(n - 1, history[1:])
        followers = {ngram[-1]: count for ngram, count in by_order[n].items() if ngram[:-1] == history}
        total = sum(followers.values())
        if not total:
            return lower
        values = list(by_order[n].values())
        discounts = (0.0, *discounts_of([values.count(k) for k in (1, 2, 3, 4)]))
        backoff = sum(discounts[min(count, 3)] for count in followers.values()) / total
        count = followers.get(word, 0)
        return (count - discounts[min(count, 3)]) / total + backoff * lower

    history = ([EOS] * (order - 1) + context)[-(order - 1) :] if order > 1 else []
    return prob(order, tuple(history))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_by_hand(order: int) -> None:
    train, text = stream(300), stream(15, seed=1)
    text[11] = 6  # a word that train does not contain
    ngram = KneserNeyNgram(train, VOCAB_SIZE, EOS, order)
    contexts = ngram.contexts(text)
    assert contexts.shape == (16, order - 1)
    probs = ngram.probs(contexts[:-1], text)
    expected = [by_hand(train, order, text[:i].tolist(), int(word)) for i, word in enumerate(text)]
    assert probs == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 200), st.integers(1, 5), st.integers(0, 5))
def test_distributions_are_normalized_and_agree_with_single_words(length: int, order: int, seed: int) -> None:
    ngram = KneserNeyNgram(stream(length, seed), VOCAB_SIZE, EOS, order)
    text = stream(30, seed + 10)
    contexts = ngram.contexts(text)
    rows = ngram.distributions(contexts)
    assert rows.shape == (31, VOCAB_SIZE)
    assert (rows > 0).all()
    assert rows.sum(axis=1) == pytest.approx(np.ones(31), abs=1e-5)
    assert ngram.probs(contexts[:-1], text) == pytest.approx(rows[np.arange(30), text], rel=1e-4)
    total, shares = torch.rand(31, VOCAB_SIZE), torch.rand(31)
    mixed = total + shares.unsqueeze(1) * torch.from_numpy(rows)
    ngram.add_to(total, contexts, shares)
    torch.testing.assert_close(total, mixed)


def test_later_words_do_not_change_a_context() -> None:
    ngram = KneserNeyNgram(stream(500), VOCAB_SIZE, EOS, 4)
    text = stream(50, seed=3)
    changed = text.copy()
    changed[20:] = 6
    assert (ngram.contexts(text)[:21] == ngram.contexts(changed)[:21]).all()


def test_the_context_of_a_text_needs_its_last_words_only() -> None:
    ngram = KneserNeyNgram(stream(500), VOCAB_SIZE, EOS, 4)
    text = stream(50, seed=3)
    assert (ngram.contexts(text)[-1] == ngram.contexts(text[-3:])[-1]).all()
    assert (ngram.contexts([])[0] == ngram.contexts([EOS, EOS, EOS])[-1]).all()


def test_context_counts() -> None:
    # order 2 is the highest: plain counts of the word before
    train = np.array([0, 1, 0, 1, 0, 3], dtype=np.int32)
    ngram = KneserNeyNgram(train, VOCAB_SIZE, EOS, 2)
    counts = ngram.context_counts(ngram.contexts([0, 1, 3, 5]))
    assert counts[:, 0].tolist() == [1, 3, 2, 0, 0]  # after <eos>, 0, 1, 3 (the last word of train), 5 (not in train)


def test_a_repeated_text_is_learned() -> None:
    train = np.tile(stream(40), 20)
    probs = {order: KneserNeyNgram(train, VOCAB_SIZE, EOS, order) for order in (1, 2, 4)}
    text = stream(40)
    losses = {order: -np.log(ngram.probs(ngram.contexts(text)[:-1], text)).mean() for order, ngram in probs.items()}
    assert losses[4] < losses[2] < losses[1]


def test_discounts() -> None:
    assert discounts_of([100, 40, 20, 10]) == pytest.approx(
        (1 - 80 / 180, 2 - 3 * 20 / 40 * 100 / 180, 3 - 4 * 10 / 20 * 100 / 180)
    )
    for degenerate in ([0, 0, 0, 0], [5, 0, 1, 1], [1, 1, 50, 1], [10, 5, 1, 90]):
        assert discounts_of(degenerate) == DISCOUNT_FALLBACK
