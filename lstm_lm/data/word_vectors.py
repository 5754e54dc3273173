"""Word vectors from co-occurrence counts, to initialize an embedding.

A short training run sees a rare word only a few times, too few for gradients to move a random vector far. Counting
finds words with similar contexts in seconds.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

_CONTEXT_SIZE = 5  # words to each side; the k-th counts 1 / k
_CONTEXT_SMOOTHING = 0.75  # exponent; without it, rare contexts have too much weight (Levy et al. 2015 §3.2)
_OVERSAMPLING, _ITERATIONS = 40, 2  # of the randomized SVD (Halko et al. 2011 §4)
_MAX_TOKENS = 20_000_000  # more tokens cost memory and hardly change the vectors


def word_vectors(ids: NDArray[np.int32], vocab_size: int, dim: int, seed: int) -> Tensor:
    """Vectors of all words: words with similar contexts have similar vectors.

    The positive pointwise mutual information (PPMI) of word and context word, factorized by a truncated singular value
    decomposition with the square root of the singular values (Levy, Goldberg and Dagan 2015, "Improving Distributional
    Similarity with Lessons Learned from Word Embeddings", §2-3). A random rotation spreads the variance over all
    dimensions.

    Args:
        ids: Word ids of a text (N,), each in [0, V).
        vocab_size: Number of words V.
        dim: Length E of a vector.
        seed: Seed of the factorization and of the rotation.

    Returns:
        (V, E), float32, mean square 1; a word without neighbors has the zero vector. The rank is at most
        min(V, E).
    """
    generator = torch.Generator().manual_seed(seed)
    ppmi = _ppmi(ids[:_MAX_TOKENS], vocab_size)
    left, values = _truncated_svd(ppmi, min(dim, vocab_size), generator)
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
    vectors: Tensor = (left * values.sqrt()) @ rotation[: len(values)]
    return vectors / vectors.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _ppmi(ids: NDArray[np.int32], vocab_size: int) -> csr_array:
    """Positive pointwise mutual information of word (row) and context word (column), (V, V)."""
    counts = csr_array((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, min(_CONTEXT_SIZE, len(ids) - 1) + 1):
        weights = np.full(len(ids) - distance, 1.0 / distance, dtype=np.float32)
        counts = counts + csr_array((weights, (ids[:-distance], ids[distance:])), shape=counts.shape)
    counts = (counts + counts.T).tocoo()
    word, context = counts.coords
    word_counts = np.bincount(word, weights=counts.data, minlength=vocab_size)
    context_probs = word_counts**_CONTEXT_SMOOTHING
    context_probs /= max(context_probs.sum(), 1.0)
    pmi = np.log(counts.data / (word_counts[word] * context_probs[context])).astype(np.float32)
    positive = pmi > 0.0
    return csr_array((pmi[positive], (word[positive], context[positive])), shape=counts.shape)


def _truncated_svd(matrix: csr_array, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Approximate left singular vectors (V, rank) and values (rank,) (Halko et al. 2011, algorithm 4.4)."""
    width = min(rank + _OVERSAMPLING, matrix.shape[0])
    basis = _orthonormal_basis(matrix @ torch.randn(matrix.shape[1], width, generator=generator).numpy())
    for _ in range(_ITERATIONS):
        basis = _orthonormal_basis(matrix @ _orthonormal_basis(matrix.T @ basis))
    left, values, _ = torch.linalg.svd(torch.from_numpy(matrix.T @ basis).t(), full_matrices=False)
    return torch.from_numpy(basis) @ left[:, :rank], values[:rank]


def _orthonormal_basis(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """An orthonormal basis of the column space."""
    basis: NDArray[np.float32] = torch.linalg.qr(torch.from_numpy(columns))[0].numpy()
    return basis
