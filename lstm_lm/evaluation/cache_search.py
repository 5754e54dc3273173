"""Grid search for the settings of the neural cache, on features computed once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lstm_lm.evaluation.progress import StageProgressCallback

THETAS = tuple(0.025 * 2.0**power for power in range(8))  # 0.025 to 3.2
THETA_FACTORS = (2.0**-0.5, 2.0**-0.25, 1.0, 2.0**0.25, 2.0**0.5)  # grid of the second pass, around the best theta
WINDOWS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
WEIGHTS = tuple(round(0.02 * step, 2) for step in range(1, 36))  # 0.02 to 0.7
_BLOCK = 64  # tokens per block: their weights over the longest window take 2 MB
_FIRST_PASS = 16  # the first pass uses one block in 16, and at least 16 blocks


def search_cache(
    features: Tensor, words: Tensor, nll: Tensor, given: Mapping[str, float], progress: StageProgressCallback
) -> dict[str, float]:
    """Find the window, theta and weight with the lowest loss.

    Args:
        features: Features before every word (N, H).
        words: The words (N,).
        nll: Their negative log likelihood without the cache, in nats (N,).
        given: Fixed settings, by name.
        progress: Called after each block.

    Returns:
        ``cache_window``, ``cache_theta`` and ``cache_weight``.
    """
    count = len(words)
    windows = [int(given["cache_window"])] if "cache_window" in given else [w for w in WINDOWS if w < count] or [count]
    weights = [given["cache_weight"]] if "cache_weight" in given else WEIGHTS
    blocks = range(0, count, _BLOCK)
    theta = given.get("cache_theta")
    if theta is None:
        sample = blocks[:: max(1, min(_FIRST_PASS, len(blocks) // _FIRST_PASS))]
        theta, *_ = _grid_search(
            features, words, nll, sample, THETAS, windows, weights, progress, "cache search, first pass"
        )
        thetas = [float(f"{theta * factor:.3g}") for factor in THETA_FACTORS]
    else:
        thetas = [theta]
    theta, window, weight = _grid_search(
        features, words, nll, blocks, thetas, windows, weights, progress, "cache search"
    )
    return {"cache_window": window, "cache_theta": theta, "cache_weight": weight}


def _grid_search(
    features: Tensor,
    words: Tensor,
    nll: Tensor,
    blocks: Sequence[int],
    thetas: Sequence[float],
    windows: Sequence[int],
    weights: Sequence[float],
    progress: StageProgressCallback,
    stage: str,
) -> tuple[float, int, float]:
    """The theta, window and weight with the lowest loss over the words of ``blocks``."""
    losses = nll.new_zeros(len(weights), len(thetas), len(windows), dtype=torch.float64)
    shares = torch.tensor(weights, dtype=torch.float64, device=nll.device).view(-1, 1, 1, 1)
    for done, begin in enumerate(blocks, start=1):
        end = min(begin + _BLOCK, len(words))
        mass = target_masses(features, words, begin, end, thetas, windows).double()
        prob = nll[begin:end].double().neg().exp()
        losses -= torch.log((1.0 - shares) * prob + shares * mass).sum(dim=-1)
        progress(stage, done, len(blocks))
    best = int(losses.argmin())
    weight_index, rest = divmod(best, len(thetas) * len(windows))
    theta_index, window_index = divmod(rest, len(windows))
    return thetas[theta_index], windows[window_index], weights[weight_index]


def target_masses(
    features: Tensor, words: Tensor, begin: int, end: int, thetas: Sequence[float], windows: Sequence[int]
) -> Tensor:
    """The cache's probability of each word of a block, for every theta and window.

    Args:
        features: Features before every word of the stream (N, H).
        words: Words of the stream (N,).
        begin: Index of the first word of the block.
        end: Index after the last word of the block.
        thetas: Values of theta.
        windows: Numbers of words in the cache; 0 is all.

    Returns:
        Probabilities (len(thetas), len(windows), end - begin); 0 for the first word of the stream.
    """
    count = end - begin
    windows = [min(window, end) if window else end for window in windows]
    longest = max(windows)
    first = max(0, begin - longest)
    padding = longest - (begin - first)
    keys = torch.nn.functional.pad(features[first:end], (0, 0, padding, 0))
    key_words = torch.nn.functional.pad(words[first:end], (padding, 0), value=-1)
    scores = features[begin:end] @ keys.t()
    # skew the matrix: row = word, column = distance, farthest position first
    scores = scores.as_strided((count, longest), (scores.stride(0) + 1, 1)).clone()
    cached_words = key_words.as_strided((count, longest), (1, 1))
    if padding:
        scores.masked_fill_(cached_words < 0, -torch.inf)
    scores -= scores.amax(dim=1, keepdim=True).clamp(min=-1e30)
    hits = cached_words == words[begin:end].unsqueeze(1)
    distance = torch.arange(longest, 0, -1, device=words.device).unsqueeze(1)
    in_window = (distance <= torch.tensor(windows, device=words.device)).to(scores.dtype)
    masses = []
    for theta in thetas:
        weights = (scores * theta).exp_() if theta else scores.isfinite().to(scores.dtype)
        total = weights @ in_window
        masses.append(((weights.mul_(hits) @ in_window) / total.clamp(min=1e-30)).t())
    return torch.stack(masses)
