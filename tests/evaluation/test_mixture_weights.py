"""Mixture weights: EM finds the best constant ones, weights per token use signals that help and only those."""

import numpy as np
import pytest
import torch

from lstm_lm.evaluation.mixture_weights import (
    constant_weights,
    cross_check,
    fit_constant,
    fit_per_token,
    weights_from_settings,
)

NAMES, SIGNALS = ("network", "cache"), ("helps", "noise")


def sample(count: int, informative: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities of two components, and signals; the first says which component knows the word."""
    rng = np.random.default_rng(0)
    knows = rng.random(count) < 0.3
    probs = np.stack([np.where(knows, 0.02, 0.4), np.where(knows, 0.7, 0.01)], axis=1) * rng.uniform(0.5, 1, (count, 2))
    helps = knows if informative else rng.permutation(knows)
    signals = np.stack([helps + 0.1 * rng.normal(size=count), 50 * rng.normal(size=count)], axis=1)
    return torch.from_numpy(np.log(probs)), torch.from_numpy(signals)


def test_em_finds_the_best_constant_weights() -> None:
    log_probs, _ = sample(2000, informative=True)
    weights = fit_constant(log_probs)
    assert weights.sum() == pytest.approx(1.0)

    def loss(weight: float) -> float:
        return -float((log_probs.exp() @ torch.tensor([1 - weight, weight], dtype=torch.float64)).log().mean())

    assert loss(weights[1]) <= min(loss(w) for w in np.linspace(0.01, 0.99, 99)) + 1e-6


def test_a_component_without_probability_gets_no_weight() -> None:
    log_probs = torch.tensor([[-1.0, -np.inf], [-2.0, -np.inf]])
    assert fit_constant(log_probs).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    weights = constant_weights(NAMES, SIGNALS, [1.0, 0.0])
    assert weights.loss(log_probs, torch.zeros(2, 2)).tolist() == pytest.approx([1.0, 2.0])


def test_weights_per_token_use_a_signal_that_helps() -> None:
    log_probs, signals = sample(2000, informative=True)
    check = cross_check(NAMES, SIGNALS, log_probs, signals)
    assert check.tokens == 2000
    assert check.per_token < 0.8 * check.constant
    weights = fit_per_token(NAMES, SIGNALS, log_probs, signals).log_weights(signals).exp()
    assert torch.allclose(weights.sum(dim=1), torch.ones(2000, dtype=torch.float64))
    knows = log_probs[:, 1] > log_probs[:, 0]
    assert weights[knows, 1].mean() > 0.8
    assert weights[~knows, 1].mean() < 0.2


def test_signals_that_do_not_help_do_not_hurt() -> None:
    log_probs, signals = sample(20_000, informative=False)
    check = cross_check(NAMES, SIGNALS, log_probs, signals)
    assert check.per_token == pytest.approx(check.constant, rel=2e-3)


def test_settings_round_trip() -> None:
    log_probs, signals = sample(500, informative=True)
    weights = fit_per_token(NAMES, SIGNALS, log_probs, signals)
    settings = weights.to_settings()
    assert set(settings) == {f"weights.{name}.{signal}" for name in NAMES for signal in (*SIGNALS, "bias")}
    again = weights_from_settings(NAMES, SIGNALS, settings)
    assert (again.matrix == weights.matrix).all()
