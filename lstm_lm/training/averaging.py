"""Weight averaging: when to average and with which coefficient. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

from lstm_lm.settings import Settings, setting

AVERAGINGS = ("none", "ema", "polyak", "nt_asgd")


@dataclass
class AveragingConfig(Settings):
    """Which average of the weights is validated, saved and exported; training continues from the raw weights."""

    name: str = setting(
        "none",
        choices=AVERAGINGS,
        help="ema is a moving average; polyak is the plain average over the end of the run; nt_asgd is the plain "
        "average, started once the valid loss stops improving (Merity et al. 2017, section 3). Each works with any "
        "optimizer.",
    )
    horizon: float = setting(
        0.05, gt=0, le=1, help="Length of the moving average, as a fraction of the steps so far (ema)."
    )
    from_fraction: float = setting(0.5, ge=0, lt=1, help="Fraction of the run after which averaging starts (polyak).")
    patience: int = setting(
        5,
        ge=0,
        help="Averaging starts once the valid loss exceeds the best one from more than this many validations ago "
        "(nt_asgd).",
    )
    every_steps: int = setting(2, ge=1, help="Steps between two averaged weights; including every step changes little.")


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
