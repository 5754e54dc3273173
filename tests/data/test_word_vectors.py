"""Word vectors: words with similar contexts have similar vectors."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lstm_lm.data.word_vectors import word_vectors


def interchangeable_pairs(times: int = 400) -> np.ndarray:
    """Words 0 and 1 occur between 2 and 3, words 4 and 5 between 6 and 7."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, times), rng.integers(4, 6, times)
    sentences = [[2, a, 3] if i % 2 else [6, b, 7] for i, (a, b) in enumerate(zip(first, second, strict=True))]
    return np.array(sentences, dtype=np.int32).ravel()


def test_words_with_the_same_contexts_are_more_similar_than_others() -> None:
    vectors = F.normalize(word_vectors(interchangeable_pairs(), vocab_size=8, dim=6, seed=1), dim=1)
    similarity = vectors @ vectors.t()
    assert similarity[0, 1] > max(similarity[0, 4], similarity[0, 5]) + 0.3
    assert similarity[4, 5] > max(similarity[4, 0], similarity[4, 1]) + 0.3


def test_full_rank_vectors_reproduce_the_ppmi_matrix() -> None:
    # X X^T = U S U^T for any rotation, and U S^2 U^T = M M^T: so (X X^T)^2 = M M^T
    ids = interchangeable_pairs()
    vectors = word_vectors(ids, vocab_size=8, dim=8, seed=3).double()
    counts = torch.zeros(8, 8, dtype=torch.float64)
    for distance in range(1, 6):
        for left, right in zip(ids[:-distance], ids[distance:], strict=True):
            counts[left, right] += 1.0 / distance
            counts[right, left] += 1.0 / distance
    total = counts.sum(dim=1)
    contexts = total**0.75 / (total**0.75).sum()
    ppmi = torch.where(counts > 0, counts / (total[:, None] * contexts), 1.0).log().clamp(min=0.0)
    products, expected = (vectors @ vectors.t()) @ (vectors @ vectors.t()), ppmi @ ppmi.t()
    torch.testing.assert_close(products / products.norm(), expected / expected.norm(), atol=1e-5, rtol=1e-4)


def test_dimensions_have_similar_size_and_the_mean_square_is_one() -> None:
    ids = np.random.default_rng(2).zipf(1.3, 20_000).clip(max=500).astype(np.int32) - 1
    vectors = word_vectors(ids, vocab_size=500, dim=32, seed=1)
    assert vectors.square().mean() == pytest.approx(1.0, abs=1e-5)
    assert float(vectors.square().mean(dim=0).max()) < 3.0


def test_the_same_seed_gives_the_same_vectors() -> None:
    ids = interchangeable_pairs()
    vectors = [word_vectors(ids, 8, 4, seed) for seed in (1, 1, 2)]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("ids", [[0], [0, 1], [3, 3, 3, 3, 3, 3, 3]])
def test_tiny_corpora_give_finite_vectors_of_the_right_shape(ids: list[int]) -> None:
    vectors = word_vectors(np.array(ids, dtype=np.int32), vocab_size=4, dim=16, seed=1)
    assert vectors.shape == (4, 16)
    assert bool(vectors.isfinite().all())


def test_a_word_without_occurrences_has_the_zero_vector() -> None:
    vectors = word_vectors(interchangeable_pairs(), vocab_size=9, dim=4, seed=1)
    assert not vectors[8].any()
    assert vectors[:8].any(dim=1).all()
