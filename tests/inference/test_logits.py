"""Logits processors: properties and hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lstm_lm.inference.logits import (
    apply_temperature,
    ban,
    keep_top_k,
    keep_top_p,
    penalize_repeats,
    softmax,
)

# few distinct values, so that ties are common
tied = st.integers(-3, 3).map(float)
spread = st.floats(-50, 50, width=32)
rows = st.integers(1, 12).flatmap(lambda size: arrays(np.float32, size, elements=st.one_of(tied, spread)))
batches = st.tuples(st.integers(1, 3), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.one_of(tied, spread))
)
either = st.one_of(rows, batches)
Array = NDArray[np.float32]


@given(either, st.integers(1, 15))
def test_top_k_keeps_exactly_the_k_largest(logits: Array, k: int) -> None:
    kept = keep_top_k(logits, k)
    finite = np.isfinite(kept)
    assert (finite.sum(axis=-1) == min(k, logits.shape[-1])).all()
    assert (kept[finite] == logits[finite]).all()
    smallest_kept = np.where(finite, logits, np.inf).min(axis=-1)
    largest_dropped = np.where(finite, -np.inf, logits).max(axis=-1)
    assert (smallest_kept >= largest_dropped).all()


def test_top_k_breaks_ties_by_lower_id() -> None:
    assert np.isfinite(keep_top_k(np.array([1.0, 2.0, 1.0, 2.0, 1.0]), 3)).tolist() == [True, True, False, True, False]


def test_top_k_never_restores_removed_words() -> None:
    assert np.isfinite(keep_top_k(np.array([-np.inf, 0.0, -np.inf]), 2)).tolist() == [False, True, False]


@given(either, st.floats(0.001, 1.0))
def test_top_p_is_the_smallest_set_that_reaches_p(logits: Array, p: float) -> None:
    kept = np.isfinite(keep_top_p(logits, p))
    probs = softmax(logits)
    reached = np.where(kept, probs, 0.0).sum(axis=-1)
    assert (kept.sum(axis=-1) >= 1).all()
    assert (reached >= p - 1e-9).all()
    smallest = np.where(kept, probs, np.inf).min(axis=-1)
    # without its least probable word the nucleus is too small, unless it is the only word
    assert ((reached - smallest < p + 1e-9) | (kept.sum(axis=-1) == 1)).all()
    assert (smallest >= np.where(kept, 0.0, probs).max(axis=-1)).all()


def test_top_p_by_hand() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.4]))
    for p, expected in ((0.05, [1]), (0.5, [1]), (0.6, [1, 2]), (0.95, [0, 1, 2]), (1.0, [0, 1, 2])):
        assert np.flatnonzero(np.isfinite(keep_top_p(logits, p))).tolist() == expected


@given(either, st.floats(1e-320, 100.0))
def test_temperature_keeps_the_order_and_never_overflows(logits: Array, temperature: float) -> None:
    scaled = apply_temperature(logits, temperature)
    assert not np.isnan(scaled).any()
    assert (scaled.max(axis=-1) == 0.0).all()
    order = np.argsort(-logits, axis=-1, kind="stable")
    assert (np.take_along_axis(scaled, order, -1)[..., :-1] >= np.take_along_axis(scaled, order, -1)[..., 1:]).all()


def test_temperature_by_hand() -> None:
    logits = np.array([1.0, 3.0, 2.0])
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert softmax(apply_temperature(logits, 2.0)) == pytest.approx(expected)


@given(rows, st.floats(1.0, 10.0), st.data())
def test_penalized_words_become_less_likely_and_others_stay(logits: Array, penalty: float, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=5))
    penalized = penalize_repeats(logits[None], [ids], penalty)[0]
    others = np.setdiff1d(np.arange(len(logits)), ids)
    assert (penalized[others] == logits[others]).all()
    assert (penalized <= logits + 1e-3).all()


@given(rows, st.floats(-20, 20))
def test_the_penalty_does_not_depend_on_the_zero_of_the_logits(logits: Array, shift: float) -> None:
    wide = logits.astype(np.float64)
    plain, shifted = (penalize_repeats(row[None], [[0]], 1.3)[0] for row in (wide, wide + shift))
    assert shifted - shift == pytest.approx(plain, abs=1e-6)


def test_the_penalty_by_hand() -> None:
    logits = np.array([4.0, -4.0, 2.0, -2.0])
    both = penalize_repeats(np.stack([logits, logits]), [[0, 1, 1], []], 2.0)
    assert both.tolist() == [[2.0, -8.0, 2.0, -2.0], logits.tolist()]
    banned = np.array([[4.0, -4.0, -np.inf]])
    assert penalize_repeats(banned, [[0, 2]], 2.0).tolist() == [[2.0, -4.0, -np.inf]]


@given(either, st.data())
def test_banned_words_are_removed_and_others_stay(logits: Array, data: st.DataObject) -> None:
    size = logits.shape[-1]
    ids = data.draw(st.lists(st.integers(0, size - 1), max_size=size))
    if len(set(ids)) == size:
        with pytest.raises(ValueError, match="every word is banned"):
            ban(logits, ids)
        return
    kept = ban(logits, ids)
    others = np.setdiff1d(np.arange(size), ids)
    assert (kept[..., ids] == -np.inf).all()
    assert (kept[..., others] == logits[..., others]).all()


@given(either)
def test_arguments_are_not_modified(logits: Array) -> None:
    before, table = logits.copy(), np.atleast_2d(logits)
    for result in (
        keep_top_k(logits, 2),
        keep_top_k(logits, 99),
        keep_top_p(logits, 0.5),
        keep_top_p(logits, 1.0),
        apply_temperature(logits, 0.5),
        penalize_repeats(table, [[0]] * len(table), 1.5),
        penalize_repeats(table, [[]] * len(table), 1.5),
        ban(logits, []),
    ):
        result[...] = 7.0
    assert (logits == before).all()


@pytest.mark.parametrize("row", [[-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0]])
def test_softmax_without_a_finite_logit_is_an_error(row: list[float]) -> None:
    with pytest.raises(ValueError, match="no word is left"):
        softmax(np.array(row))


@pytest.mark.parametrize("k", [0, -1])
def test_top_k_requires_k_of_at_least_1(k: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        keep_top_k(np.zeros(3), k)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, float("nan")])
def test_top_p_requires_p_in_0_to_1(p: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        keep_top_p(np.zeros(3), p)
