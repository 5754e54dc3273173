"""Learning-rate schedules: pure functions of the completed fraction of the run, by steps or by time."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lstm_lm.training.config import ScheduleConfig

_FLOOR = 0.01  # of the peak: start of the warm-up, because a step with lr 0 is wasted
_CYCLE_START = 0.1  # of the peak: start and end of the cycle (Smith & Topin 2018 use a tenth to a twentieth)
_FINAL_DECAY = 0.1  # fraction of the run after the cycle


def learning_rate_factor(fraction: float, config: ScheduleConfig) -> float:
    """Learning rate as a fraction of its peak: linear warm-up, then the named schedule.

    Args:
        fraction: Completed fraction of the run, in [0, 1].
        config: A schedule other than ``plateau``.

    Returns:
        Factor in (0, 1]; 0 at the end if ``final_fraction`` is 0.
    """
    if config.name == "one_cycle":
        return _one_cycle(fraction, config.warmup_fraction, config.final_fraction)
    if fraction < config.warmup_fraction:
        return max(fraction / config.warmup_fraction, _FLOOR)
    progress = (fraction - config.warmup_fraction) / (1.0 - config.warmup_fraction)
    if config.name == "cosine":  # Loshchilov & Hutter 2017 §3, without restarts
        return _lerp(config.final_fraction, 1.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    if config.name == "linear":
        return _lerp(1.0, config.final_fraction, progress)
    return 1.0


def _one_cycle(fraction: float, peak_at: float, final: float) -> float:
    """Linear up, linear down, then a short decay far below the start (Smith & Topin 2018 §3, "annihilation")."""
    cycle_end = 1.0 - _FINAL_DECAY
    if fraction < peak_at:
        return _lerp(_CYCLE_START, 1.0, fraction / peak_at)
    if fraction < cycle_end:
        return _lerp(1.0, _CYCLE_START, (fraction - peak_at) / (cycle_end - peak_at))
    return _lerp(min(_CYCLE_START, final), _CYCLE_START, (1.0 - fraction) / _FINAL_DECAY)


def _lerp(start: float, end: float, weight: float) -> float:
    return start + (end - start) * weight


def build_schedule(config: ScheduleConfig, optimizer: Optimizer, fraction: Callable[[], float]) -> dict[str, Any]:
    """Build Lightning's ``lr_scheduler`` dictionary.

    Args:
        config: The schedule.
        optimizer: The optimizer to schedule.
        fraction: Returns the completed fraction of the run, in [0, 1]; called once per step.
    """
    if config.name != "plateau":
        scheduler = LambdaLR(optimizer, lambda _: learning_rate_factor(fraction(), config))
        return {"scheduler": scheduler, "interval": "step"}
    lr = optimizer.param_groups[0]["lr"]
    plateau = ReduceLROnPlateau(
        # final_fraction is the floor; torch's eps would be a second, absolute one
        optimizer,
        factor=config.factor,
        patience=config.patience,
        min_lr=lr * config.final_fraction,
        eps=0.0,
    )
    return {"scheduler": plateau, "monitor": "valid/loss", "interval": "epoch", "strict": False}
