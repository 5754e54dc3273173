"""Weight averaging: when to average and with which coefficient. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

AVERAGINGS = ("none", "ema", "polyak", "nt_asgd")


@dataclass
class AveragingConfig:
    """Which average of the weights is validated, saved and exported; training continues from the raw weights.

    Attributes:
        name: ``none``; ``ema``: a moving average; ``polyak``: the plain average over the end of the run; ``nt_asgd``:
            the plain average, started once the valid loss stops improving (Merity et al. 2017 §3). Works with any
            optimizer.
        horizon: Length of the moving average, as a fraction of the steps so far (ema).
        from_fraction: Fraction of the run after which averaging starts (polyak).
        patience: Averaging starts once the valid loss exceeds the best one from more than this many validations ago
            (nt_asgd).
        every_steps: Steps between two averaged weights; including every step changes little.
    """

    name: str = "none"
    horizon: float = 0.05
    from_fraction: float = 0.5
    patience: int = 5
    every_steps: int = 2

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.name not in AVERAGINGS:
            problems.append(f"name: unknown averaging (got {self.name!r}); use one of {', '.join(AVERAGINGS)}")
        if not 0.0 < self.horizon <= 1.0:
            problems.append(f"horizon: must be above 0 and at most 1 (got {self.horizon}); try 0.05")
        if not 0.0 <= self.from_fraction < 1.0:
            problems.append(f"from_fraction: must be in [0, 1) (got {self.from_fraction}); try 0.5")
        if self.patience < 0:
            problems.append(f"patience: must not be negative (got {self.patience}); the paper uses 5")
        if self.every_steps < 1:
            problems.append(f"every_steps: must be at least 1 (got {self.every_steps})")
        return problems


def lerp_weight(num_averaged: int, config: AveragingConfig) -> float:
    """Interpolation coefficient of the newest weights: ``average += lerp_weight * (weights - average)``.

    ``1 / n`` for the n-th weights gives the plain average. ``1 / (horizon * n)`` gives a moving average whose length
    grows with the run: the k-th of n weights counts as ``(k / n) ** (1 / horizon - 1)`` (Karras et al. 2024,
    "Analyzing and Improving the Training Dynamics of Diffusion Models", §3.1). It needs no decay tuned to the batch
    size or the length of the run, and it forgets the untrained weights quickly.

    Args:
        num_averaged: Weights in the average so far.
        config: An averaging other than ``none``.

    Returns:
        Coefficient in (0, 1].
    """
    horizon = config.horizon if config.name == "ema" else 1.0
    return min(1.0, 1.0 / (horizon * (num_averaged + 1)))


def nt_asgd_triggered(losses: Sequence[float], patience: int) -> bool:
    """Whether NT-ASGD starts to average: the newest loss exceeds one from more than ``patience`` validations ago.

    Args:
        losses: Valid losses, oldest first.
        patience: The non-monotone interval n of Merity et al. 2017, Algorithm 1.
    """
    before = len(losses) - 1
    return before > patience and losses[-1] > min(losses[: before - patience])
