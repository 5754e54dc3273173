"""Word vectors from how often words stand near each other: where an embedding can begin to learn.

A rare word is met a handful of times in a short training, too few for gradients to move a random vector to a useful
place. Counting says at once which words stand in like company, and costs seconds.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

NEIGHBOURS = 5  # words to each side; the k-th counts 1 / k
_CONTEXT_SMOOTHING = 0.75  # Levy et al. 2015 §3.2: contexts that are rare would seem too telling
_OVERSAMPLING, _ITERATIONS = 40, 2  # of the randomised factorisation, Halko et al. 2011 §4
_MOST_WORDS = 20_000_000  # the counts of more words cost memory and say the same


def word_vectors(ids: NDArray[np.int32], vocab_size: int, dim: int, seed: int) -> Tensor:
    """Vectors of all words, such that words in like company lie close together.

    The positive pointwise mutual information of word and neighbour, factorised by a truncated singular value
    decomposition (Levy, Goldberg and Dagan 2015, "Improving Distributional Similarity with Lessons Learned from Word
    Embeddings", §2-3, with the square root of the singular values), turned at random so that no dimension is larger
    than the others.

    Args:
        ids: The stream of word ids (N,), each in [0, V).
        vocab_size: Number of words V.
        dim: Length E of a vector.
        seed: Of the factorisation and of the turn.

    Returns:
        (V, E), float32, mean square 1; a word without neighbours has the zero vector. Where the words are fewer than
        the dimensions, so is the rank.
    """
    generator = torch.Generator().manual_seed(seed)
    information = _positive_information(ids[:_MOST_WORDS], vocab_size)
    left, values = _largest_singular_vectors(information, min(dim, vocab_size), generator)
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
    vectors: Tensor = (left * values.sqrt()) @ turn[: len(values)]
    return vectors / vectors.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _positive_information(ids: NDArray[np.int32], vocab_size: int) -> csr_array:
    """Positive pointwise mutual information of word (row) and neighbour (column), (V, V)."""
    near = csr_array((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, min(NEIGHBOURS, len(ids) - 1) + 1):
        weights = np.full(len(ids) - distance, 1.0 / distance, dtype=np.float32)
        near = near + csr_array((weights, (ids[:-distance], ids[distance:])), shape=near.shape)
    near = (near + near.T).tocoo()
    word, neighbour = near.coords
    occurrences = np.bincount(word, weights=near.data, minlength=vocab_size)
    contexts = occurrences**_CONTEXT_SMOOTHING
    contexts /= max(contexts.sum(), 1.0)
    information = np.log(near.data / (occurrences[word] * contexts[neighbour])).astype(np.float32)
    kept = information > 0.0
    return csr_array((information[kept], (word[kept], neighbour[kept])), shape=near.shape)


def _largest_singular_vectors(matrix: csr_array, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Left singular vectors (V, rank) and values (rank,), approximately (Halko et al. 2011, algorithm 4.4)."""
    width = min(rank + _OVERSAMPLING, matrix.shape[0])
    basis = _basis(matrix @ torch.randn(matrix.shape[1], width, generator=generator).numpy())
    for _ in range(_ITERATIONS):
        basis = _basis(matrix @ _basis(matrix.T @ basis))
    left, values, _ = torch.linalg.svd(torch.from_numpy(matrix.T @ basis).t(), full_matrices=False)
    return torch.from_numpy(basis) @ left[:, :rank], values[:rank]


def _basis(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """An orthonormal basis of what the columns span."""
    basis: NDArray[np.float32] = torch.linalg.qr(torch.from_numpy(columns))[0].numpy()
    return basis
