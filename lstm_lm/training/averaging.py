"""Averaging of weights: what to average, and how much each step counts. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

AVERAGINGS = ("none", "ema", "polyak", "nt_asgd")


@dataclass
class AveragingConfig:
    """Which average of the weights is validated, saved and exported; learning goes on from the last step's.

    Attributes:
        name: ``none``; ``ema``: a moving average; ``polyak``: the plain average of the end of the run; ``nt_asgd``: the
            plain average from the validation on that brings nothing new (Merity et al. 2017 §3). Goes with any
            optimizer.
        horizon: How far back a moving average reaches, as a share of the steps so far (ema).
        from_fraction: Share of the run after which averaging begins (tail).
        patience: Validations that a loss is behind the best one when averaging begins (nt_asgd).
        every_steps: Steps from one to the next that is averaged; what lies between would change little.
    """

    name: str = "none"
    horizon: float = 0.05
    from_fraction: float = 0.5
    patience: int = 5
    every_steps: int = 2

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in AVERAGINGS:
            found.append(f"name: unknown averaging (got {self.name!r}); use one of {', '.join(AVERAGINGS)}")
        if not 0.0 < self.horizon <= 1.0:
            found.append(f"horizon: must be above 0 and at most 1 (got {self.horizon}); try 0.05")
        if not 0.0 <= self.from_fraction < 1.0:
            found.append(f"from_fraction: must be in [0, 1) (got {self.from_fraction}); try 0.5")
        if self.patience < 0:
            found.append(f"patience: must not be negative (got {self.patience}); the paper has 5")
        if self.every_steps < 1:
            found.append(f"every_steps: must be at least 1 (got {self.every_steps})")
        return found


def newest_weight(num_averaged: int, config: AveragingConfig) -> float:
    """The share of the newest weights in the average that they become part of.

    ``1 / n`` for the n-th gives the plain average. ``1 / (horizon * n)`` gives a moving one whose reach grows with the
    run, the k-th of n weighing as ``(k / n) ** (1 / horizon - 1)`` (Karras et al. 2024, "Analyzing and Improving the
    Training Dynamics of Diffusion Models", §3.1): no decay has to be chosen for a batch size or a length of run, and
    the untrained weights are soon forgotten.

    Args:
        num_averaged: Weights in the average so far.
        config: An averaging other than ``none``.

    Returns:
        Share in (0, 1].
    """
    horizon = config.horizon if config.name == "ema" else 1.0
    return min(1.0, 1.0 / (horizon * (num_averaged + 1)))


def brings_nothing_new(losses: Sequence[float], patience: int) -> bool:
    """Whether NT-ASGD begins to average: the newest loss is above one of more than ``patience`` validations ago.

    Args:
        losses: Valid losses, oldest first.
        patience: The non-monotone interval n of Merity et al. 2017, Algorithm 1.
    """
    before = len(losses) - 1
    return before > patience and losses[-1] > min(losses[: before - patience])
