"""Which word is chosen."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.logits import apply_temperature, ban, keep_top_k, keep_top_p, penalize_repeats
from lstm_lm.inference.sampling import sample_batch, sample_categorical, with_seed

Ids = Sequence[int] | np.ndarray
LOGITS = np.log(np.array([0.1, 0.4, 0.3, 0.2]))


def choose(
    logits: np.ndarray, sampling: SamplingConfig, rng: np.random.Generator, banned_ids: Ids = (), recent_ids: Ids = ()
) -> int:
    return sample_batch([logits], sampling, [rng], banned_ids, [recent_ids])[0]


def drawn(sampling: SamplingConfig, count: int = 4000, seed: int = 0, **context: list[int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.bincount([choose(LOGITS, sampling, rng, **context) for _ in range(count)], minlength=4) / count


def test_greedy_takes_the_most_probable_and_no_random_number() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert choose(LOGITS, SamplingConfig(strategy="greedy"), rng) == 1
    assert choose(LOGITS, SamplingConfig(strategy="greedy"), rng, banned_ids=[1]) == 2
    assert rng.bit_generator.state == before


def test_draws_follow_the_probabilities() -> None:
    assert drawn(SamplingConfig()) == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)
    squared = np.array([0.01, 0.16, 0.09, 0.04])
    assert drawn(SamplingConfig(temperature=0.5)) == pytest.approx(squared / squared.sum(), abs=0.03)


def test_only_what_the_filters_keep_is_drawn() -> None:
    assert drawn(SamplingConfig(top_k=2)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert drawn(SamplingConfig(top_p=0.7)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert drawn(SamplingConfig(top_k=1)).tolist() == [0, 1, 0, 0]
    assert drawn(SamplingConfig(top_p=1e-12)).tolist() == [0, 1, 0, 0]
    assert drawn(SamplingConfig(temperature=1e-308)).tolist() == [0, 1, 0, 0]
    assert drawn(SamplingConfig(top_k=1_000_000)) == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)
    assert drawn(SamplingConfig(), banned_ids=[1]) == pytest.approx([1 / 6, 0, 1 / 2, 1 / 3], abs=0.03)


def test_recent_words_are_drawn_less() -> None:
    plain, penalized = drawn(SamplingConfig()), drawn(SamplingConfig(repeat_penalty=5.0), recent_ids=[1])
    assert penalized[1] < plain[1] - 0.1


def test_a_ban_of_every_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="every word is banned"):
        choose(LOGITS, SamplingConfig(), np.random.default_rng(0), banned_ids=[0, 1, 2, 3])


def test_a_word_without_a_chance_is_never_drawn_even_at_the_ends_of_the_range() -> None:
    class Ends:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self) -> float:
            return self.value

    logits = np.array([-np.inf, 0.0, 0.0, -np.inf])
    assert sample_categorical(logits[None], [Ends(0.0)])[0] == 1  # type: ignore[arg-type]
    assert sample_categorical(logits[None], [Ends(np.nextafter(1.0, 0.0))])[0] == 2  # type: ignore[arg-type]
    assert sample_categorical(logits[None], [Ends(1.0)])[0] == 2  # type: ignore[arg-type]


def test_with_seed_draws_one_only_where_it_is_needed() -> None:
    assert with_seed(SamplingConfig(seed=3)).seed == 3
    assert with_seed(SamplingConfig(strategy="greedy")).seed is None
    seeds = {with_seed(SamplingConfig()).seed for _ in range(5)}
    assert len(seeds) == 5
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.booleans(), st.floats(1.0, 3.0))
def test_looking_at_the_likeliest_words_alone_chooses_as_looking_at_all(
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
    assert choose(logits, sampling, np.random.default_rng(seed), banned, recent) == expected


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
@pytest.mark.parametrize("top_k", [0, 3, 40])
def test_texts_side_by_side_get_the_words_that_each_gets_alone(strategy: str, top_k: int) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (6, 3000)).astype(np.float32)
    recent = [rng.integers(0, 3000, size).tolist() for size in (0, 1, 5, 5, 30, 200)]
    banned = [0, *np.argmax(logits, axis=-1)[:3].tolist()]
    sampling = SamplingConfig(strategy, temperature=0.9, top_k=top_k, top_p=0.95, repeat_penalty=1.3)
    together, apart = ([np.random.default_rng(seed) for seed in range(6)] for _ in range(2))
    for _ in range(5):
        chosen = sample_batch(list(logits), sampling, together, banned, recent)
        alone = [choose(*one, banned, ids) for *one, ids in zip(logits, [sampling] * 6, apart, recent, strict=True)]
        assert chosen == alone
