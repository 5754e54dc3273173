"""Word vectors from counts: like company, like vectors."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lstm_lm.data.word_vectors import word_vectors


def pairs_of_company(times: int = 400) -> np.ndarray:
    """Words 0 and 1 stand between 2 and 3, words 4 and 5 between 6 and 7; each pair is interchangeable."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, times), rng.integers(4, 6, times)
    sentences = [[2, a, 3] if i % 2 else [6, b, 7] for i, (a, b) in enumerate(zip(first, second, strict=True))]
    return np.array(sentences, dtype=np.int32).ravel()


def test_words_in_like_company_lie_closer_than_others() -> None:
    vectors = F.normalize(word_vectors(pairs_of_company(), vocab_size=8, dim=6, seed=1), dim=1)
    alike = vectors @ vectors.t()
    assert alike[0, 1] > max(alike[0, 4], alike[0, 5]) + 0.3
    assert alike[4, 5] > max(alike[4, 0], alike[4, 1]) + 0.3


def test_with_all_dimensions_the_products_are_those_of_the_information() -> None:
    # X X^T = U S U^T whatever the turn, and U S^2 U^T = M M^T: so X X^T is the matrix root of M M^T
    ids = pairs_of_company()
    vectors = word_vectors(ids, vocab_size=8, dim=8, seed=3).double()
    near = torch.zeros(8, 8, dtype=torch.float64)
    for distance in range(1, 6):
        for left, right in zip(ids[:-distance], ids[distance:], strict=True):
            near[left, right] += 1.0 / distance
            near[right, left] += 1.0 / distance
    total = near.sum(dim=1)
    contexts = total**0.75 / (total**0.75).sum()
    information = torch.where(near > 0, near / (total[:, None] * contexts), 1.0).log().clamp(min=0.0)
    products, expected = (vectors @ vectors.t()) @ (vectors @ vectors.t()), information @ information.t()
    torch.testing.assert_close(products / products.norm(), expected / expected.norm(), atol=1e-5, rtol=1e-4)


def test_every_dimension_is_as_large_and_the_mean_square_is_one() -> None:
    ids = np.random.default_rng(2).zipf(1.3, 20_000).clip(max=500).astype(np.int32) - 1
    vectors = word_vectors(ids, vocab_size=500, dim=32, seed=1)
    assert vectors.square().mean() == pytest.approx(1.0, abs=1e-5)
    assert float(vectors.square().mean(dim=0).max()) < 3.0


def test_the_same_seed_gives_the_same_vectors() -> None:
    ids = pairs_of_company()
    same = [word_vectors(ids, 8, 4, seed) for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


@pytest.mark.parametrize("ids", [[0], [0, 1], [3, 3, 3, 3, 3, 3, 3]])
def test_tiny_corpora_give_finite_vectors_of_the_asked_shape(ids: list[int]) -> None:
    vectors = word_vectors(np.array(ids, dtype=np.int32), vocab_size=4, dim=16, seed=1)
    assert vectors.shape == (4, 16)
    assert bool(vectors.isfinite().all())


def test_a_word_that_does_not_occur_has_the_zero_vector() -> None:
    vectors = word_vectors(pairs_of_company(), vocab_size=9, dim=4, seed=1)
    assert not vectors[8].any()
    assert vectors[:8].any(dim=1).all()
