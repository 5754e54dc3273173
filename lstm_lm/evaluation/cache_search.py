"""Looking for the settings of the neural cache, from features that are made once and without the vocabulary."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Report = Callable[[str, int, int], None]

THETAS = tuple(0.025 * 2.0**power for power in range(8))  # 0.025 to 3.2
NEAR = (2.0**-0.5, 2.0**-0.25, 1.0, 2.0**0.25, 2.0**0.5)  # where the second pass looks, around the best of the first
WINDOWS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
WEIGHTS = tuple(round(0.02 * step, 2) for step in range(1, 36))  # 0.02 to 0.7
_BLOCK = 64  # tokens whose weights over the longest window exist at one time: 2 MB
_FIRST_PASS = 16  # it looks at one block in so many, and at no fewer than these


def search_cache(
    features: Tensor, words: Tensor, nll: Tensor, given: Mapping[str, float], report: Report
) -> dict[str, float]:
    """The window, theta and weight that give the lowest loss.

    Args:
        features: Before every word (N, H).
        words: The words (N,).
        nll: Their negative log likelihood without the cache, in nats (N,).
        given: Settings that are not to be changed, by name.
        report: Told how far it is.

    Returns:
        ``cache_window``, ``cache_theta`` and ``cache_weight``.
    """
    count = len(words)
    windows = [int(given["cache_window"])] if "cache_window" in given else [w for w in WINDOWS if w < count] or [count]
    weights = [given["cache_weight"]] if "cache_weight" in given else WEIGHTS
    every = range(0, count, _BLOCK)
    theta = given.get("cache_theta")
    if theta is None:
        some = every[:: max(1, min(_FIRST_PASS, len(every) // _FIRST_PASS))]
        theta, *_ = _best(features, words, nll, some, THETAS, windows, weights, report, "cache, first look")
        thetas = [float(f"{theta * factor:.3g}") for factor in NEAR]
    else:
        thetas = [theta]
    theta, window, weight = _best(features, words, nll, every, thetas, windows, weights, report, "cache")
    return {"cache_window": window, "cache_theta": theta, "cache_weight": weight}


def _best(
    features: Tensor,
    words: Tensor,
    nll: Tensor,
    blocks: Sequence[int],
    thetas: Sequence[float],
    windows: Sequence[int],
    weights: Sequence[float],
    report: Report,
    stage: str,
) -> tuple[float, int, float]:
    """Theta, window and weight of the lowest loss over the words of some blocks."""
    losses = torch.zeros(len(weights), len(thetas), len(windows), dtype=torch.float64)
    shares = torch.tensor(weights, dtype=torch.float64).view(-1, 1, 1, 1)
    for done, begin in enumerate(blocks, start=1):
        end = min(begin + _BLOCK, len(words))
        mass = target_masses(features, words, begin, end, thetas, windows).double()
        prob = nll[begin:end].double().neg().exp()
        losses -= torch.log((1.0 - shares) * prob + shares * mass).sum(dim=-1)
        report(stage, done, len(blocks))
    best = int(losses.argmin())
    which_weight, rest = divmod(best, len(thetas) * len(windows))
    which_theta, which_window = divmod(rest, len(windows))
    return thetas[which_theta], windows[which_window], weights[which_weight]


def target_masses(
    features: Tensor, words: Tensor, begin: int, end: int, thetas: Sequence[float], windows: Sequence[int]
) -> Tensor:
    """What the cache gives to each word of a block, for every theta and window.

    Args:
        features: Of the whole stream (N, H).
        words: Of the whole stream (N,).
        begin: First word of the block.
        end: The place after its last one.
        thetas: Sharpnesses.
        windows: Words that are looked back on; 0 is all.

    Returns:
        Probabilities (len(thetas), len(windows), end - begin); 0 for the very first word, which has no cache.
    """
    count = end - begin
    windows = [min(window, end) if window else end for window in windows]
    longest = max(windows)
    first = max(0, begin - longest)
    missing = longest - (begin - first)
    keys = torch.nn.functional.pad(features[first:end], (0, 0, missing, 0))
    key_words = torch.nn.functional.pad(words[first:end], (missing, 0), value=-1)
    scores = features[begin:end] @ keys.t()
    # a row for each word and a column for each distance: the matrix read along its diagonals, farthest place first
    scores = scores.as_strided((count, longest), (scores.stride(0) + 1, 1)).clone()
    seen = key_words.as_strided((count, longest), (1, 1))
    if missing:
        scores.masked_fill_(seen < 0, -torch.inf)
    scores -= scores.amax(dim=1, keepdim=True).clamp(min=-1e30)
    hits = seen == words[begin:end].unsqueeze(1)
    distance = torch.arange(longest, 0, -1).unsqueeze(1)
    inside = (distance <= torch.tensor(windows)).to(scores.dtype)
    masses = []
    for theta in thetas:
        weights = (scores * theta).exp_() if theta else scores.isfinite().to(scores.dtype)
        total = weights @ inside
        masses.append(((weights.mul_(hits) @ inside) / total.clamp(min=1e-30)).t())
    return torch.stack(masses)
