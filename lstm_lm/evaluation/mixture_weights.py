"""Weights of a mixture of distributions: one for all tokens, or one per token from a few signals.

The weights of token t are softmax(A s_t + b), with s_t the signals before the token: how certain each component is, and
how much it knows. ``fit_constant`` finds constant weights by EM, a convex problem; ``fit_per_token`` starts from
them and maximizes the likelihood over A and b, with a small penalty on A. Both see probabilities of targets only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.evaluation.config import WEIGHTS

_EM_STEPS = 100
_FIT_STEPS = 100
_PENALTY = 1e-4  # per squared weight of a signal with unit variance, relative to a loss in nats per token
_FLOOR = 1e-30  # a component may give a target no probability
_BIAS = "bias"


@dataclass(frozen=True)
class MixtureWeights:
    """The weights of K components, from F signals per token."""

    components: tuple[str, ...]
    signals: tuple[str, ...]
    matrix: NDArray[np.float64]
    """Logit of each component per unit of each signal, then its bias (K, F + 1)."""

    def log_weights(self, signals: Tensor) -> Tensor:
        """The log weights of each token, (n, K), from its signals (n, F)."""
        matrix = torch.from_numpy(self.matrix).to(signals.device)
        return torch.log_softmax(signals.double() @ matrix[:, :-1].t() + matrix[:, -1], dim=1)

    def loss(self, log_probs: Tensor, signals: Tensor) -> Tensor:
        """Negative log likelihood of the mixture in nats (n,).

        Args:
            log_probs: The components' log probabilities of the targets (n, K).
            signals: (n, F).
        """
        return -torch.logsumexp(self.log_weights(signals) + log_probs.double(), dim=1)

    def to_settings(self) -> dict[str, float]:
        """As plain settings ``weights.COMPONENT.SIGNAL``."""
        return {
            f"{WEIGHTS}{component}.{signal}": float(value)
            for component, row in zip(self.components, self.matrix, strict=True)
            for signal, value in zip((*self.signals, _BIAS), row, strict=True)
        }


def weight_names(components: Sequence[str], signals: Sequence[str]) -> list[str]:
    """The names of :meth:`MixtureWeights.to_settings`."""
    return [f"{WEIGHTS}{component}.{signal}" for component in components for signal in (*signals, _BIAS)]


def weights_from_settings(
    components: Sequence[str], signals: Sequence[str], settings: Mapping[str, float]
) -> MixtureWeights:
    """The inverse of :meth:`MixtureWeights.to_settings`."""
    values = [settings[name] for name in weight_names(components, signals)]
    return MixtureWeights(tuple(components), tuple(signals), np.reshape(values, (len(components), -1)))


def constant_weights(components: Sequence[str], signals: Sequence[str], weights: Sequence[float]) -> MixtureWeights:
    """The same weights for every token."""
    matrix = np.zeros((len(components), len(signals) + 1))
    matrix[:, -1] = np.log(np.maximum(weights, _FLOOR))
    return MixtureWeights(tuple(components), tuple(signals), matrix)


def fit_constant(log_probs: Tensor) -> NDArray[np.float64]:
    """The constant weights (K,) with the highest likelihood, by EM.

    Args:
        log_probs: The components' log probabilities of the targets (N, K).
    """
    probs = log_probs.double().exp()
    weights = torch.full_like(probs[0], 1.0 / probs.shape[1])
    for _ in range(_EM_STEPS):
        responsibilities = probs * weights
        responsibilities /= responsibilities.sum(dim=1, keepdim=True).clamp(min=_FLOOR)
        weights = responsibilities.mean(dim=0)
    result: NDArray[np.float64] = (weights / weights.sum()).cpu().numpy()
    return result


def fit_per_token(
    components: Sequence[str], signal_names: Sequence[str], log_probs: Tensor, signals: Tensor
) -> MixtureWeights:
    """Fit weights per token by penalized maximum likelihood, with L-BFGS from the constant weights.

    Args:
        components: Names of the components.
        signal_names: Names of the signals.
        log_probs: The components' log probabilities of the targets (N, K).
        signals: Signals before each target (N, F).
    """
    log_probs = log_probs.double().clamp(min=float(np.log(_FLOOR)))
    mean, scale = signals.double().mean(dim=0), signals.double().std(dim=0).clamp(min=1e-6)
    normalized = (signals.double() - mean) / scale
    slopes = mean.new_zeros(len(components), signals.shape[1], requires_grad=True)
    start = np.log(np.maximum(fit_constant(log_probs), 1e-4))
    bias = torch.tensor(start, device=mean.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([slopes, bias], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_weights = torch.log_softmax(normalized @ slopes.t() + bias, dim=1)
        loss = -torch.logsumexp(log_weights + log_probs, dim=1).mean() + _PENALTY * slopes.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    raw = slopes.detach() / scale
    matrix = torch.cat([raw, (bias.detach() - raw @ mean).unsqueeze(1)], dim=1)
    return MixtureWeights(tuple(components), tuple(signal_names), matrix.cpu().numpy())


@dataclass(frozen=True)
class CrossCheck:
    """Perplexity of a split when each half is scored with the weights of the other half."""

    tokens: int
    """Number of tokens of the split."""
    constant: float
    """With constant weights."""
    per_token: float
    """With weights per token."""


def cross_check(
    components: Sequence[str], signal_names: Sequence[str], log_probs: Tensor, signals: Tensor
) -> CrossCheck:
    """Fit on each half and score the other one; arguments as in :func:`fit_per_token`."""
    count = len(log_probs)
    halves = slice(0, count // 2), slice(count // 2, count)
    totals = np.zeros(2)
    for fitted, scored in (halves, halves[::-1]):
        constant = constant_weights(components, signal_names, fit_constant(log_probs[fitted]).tolist())
        per_token = fit_per_token(components, signal_names, log_probs[fitted], signals[fitted])
        for index, weights in enumerate((constant, per_token)):
            totals[index] += float(weights.loss(log_probs[scored], signals[scored]).sum())
    constant_ppl, per_token_ppl = np.exp(totals / count).tolist()
    return CrossCheck(count, constant_ppl, per_token_ppl)
