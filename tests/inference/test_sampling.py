"""Sampling: greedy, filters, seeds and batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.logits import IdSequence, apply_temperature, ban, keep_top_k, keep_top_p, penalize_repeats
from lstm_lm.inference.sampling import sample_batch, sample_categorical, with_seed

LOGITS = np.log(np.array([0.1, 0.4, 0.3, 0.2]))


def sample(
    logits: np.ndarray,
    sampling: SamplingConfig,
    rng: np.random.Generator,
    banned_ids: IdSequence = (),
    recent_ids: IdSequence = (),
) -> int:
    return sample_batch([logits], sampling, [rng], banned_ids, [recent_ids])[0]


def frequencies(sampling: SamplingConfig, count: int = 4000, seed: int = 0, **context: list[int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.bincount([sample(LOGITS, sampling, rng, **context) for _ in range(count)], minlength=4) / count


def test_greedy_is_the_argmax_and_uses_no_random_number() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert sample(LOGITS, SamplingConfig(strategy="greedy"), rng) == 1
    assert sample(LOGITS, SamplingConfig(strategy="greedy"), rng, banned_ids=[1]) == 2
    assert rng.bit_generator.state == before


def test_samples_follow_the_probabilities() -> None:
    assert frequencies(SamplingConfig()) == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)
    squared = np.array([0.01, 0.16, 0.09, 0.04])
    assert frequencies(SamplingConfig(temperature=0.5)) == pytest.approx(squared / squared.sum(), abs=0.03)


def test_only_filtered_words_are_sampled() -> None:
    assert frequencies(SamplingConfig(top_k=2)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert frequencies(SamplingConfig(top_p=0.7)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert frequencies(SamplingConfig(top_k=1)).tolist() == [0, 1, 0, 0]
    assert frequencies(SamplingConfig(top_p=1e-12)).tolist() == [0, 1, 0, 0]
    assert frequencies(SamplingConfig(temperature=1e-308)).tolist() == [0, 1, 0, 0]
    assert frequencies(SamplingConfig(top_k=1_000_000)) == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)
    assert frequencies(SamplingConfig(), banned_ids=[1]) == pytest.approx([1 / 6, 0, 1 / 2, 1 / 3], abs=0.03)


def test_penalized_words_are_sampled_less() -> None:
    plain, penalized = frequencies(SamplingConfig()), frequencies(SamplingConfig(repeat_penalty=5.0), recent_ids=[1])
    assert penalized[1] < plain[1] - 0.1


def test_banning_every_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="every word is banned"):
        sample(LOGITS, SamplingConfig(), np.random.default_rng(0), banned_ids=[0, 1, 2, 3])


def test_zero_probability_is_never_sampled_even_at_the_range_limits() -> None:
    class FixedRandom:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self) -> float:
            return self.value

    logits = np.array([-np.inf, 0.0, 0.0, -np.inf])
    assert sample_categorical(logits[None], [FixedRandom(0.0)])[0] == 1  # type: ignore[arg-type]
    assert sample_categorical(logits[None], [FixedRandom(np.nextafter(1.0, 0.0))])[0] == 2  # type: ignore[arg-type]
    assert sample_categorical(logits[None], [FixedRandom(1.0)])[0] == 2  # type: ignore[arg-type]


def test_with_seed_adds_a_seed_only_if_needed() -> None:
    assert with_seed(SamplingConfig(seed=3)).seed == 3
    assert with_seed(SamplingConfig(strategy="greedy")).seed is None
    seeds = {with_seed(SamplingConfig()).seed for _ in range(5)}
    assert len(seeds) == 5
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.booleans(), st.floats(1.0, 3.0))
def test_top_k_candidates_give_the_same_samples_as_the_whole_vocabulary(
    seed: int, top_k: int, greedy: bool, penalty: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 5000).astype(np.float32)
    best = np.argsort(-logits)
    banned, recent = rng.choice(best[:40], 12), rng.choice(best[:60], 15)
    strategy = "greedy" if greedy else "sample"
    sampling = SamplingConfig(strategy=strategy, temperature=0.8, top_k=top_k, top_p=0.9, repeat_penalty=penalty)
    (filtered,) = ban(penalize_repeats(logits[None], [recent], penalty), banned)
    nucleus = keep_top_p(apply_temperature(keep_top_k(filtered, top_k), 0.8), 0.9)
    expected = np.argmax(filtered) if greedy else sample_categorical(nucleus[None], [np.random.default_rng(seed)])[0]
    assert sample(logits, sampling, np.random.default_rng(seed), banned, recent) == expected


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
@pytest.mark.parametrize("top_k", [0, 3, 40])
def test_batched_sampling_equals_single_sampling(strategy: str, top_k: int) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (6, 3000)).astype(np.float32)
    recent = [rng.integers(0, 3000, size).tolist() for size in (0, 1, 5, 5, 30, 200)]
    banned = [0, *np.argmax(logits, axis=-1)[:3].tolist()]
    sampling = SamplingConfig(strategy, temperature=0.9, top_k=top_k, top_p=0.95, repeat_penalty=1.3)
    batch_rngs, single_rngs = ([np.random.default_rng(seed) for seed in range(6)] for _ in range(2))
    for _ in range(5):
        batched = sample_batch(list(logits), sampling, batch_rngs, banned, recent)
        single = [
            sample(row, sampling, rng, banned, ids) for row, rng, ids in zip(logits, single_rngs, recent, strict=True)
        ]
        assert batched == single
