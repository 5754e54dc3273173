"""Learning-rate schedules: pure functions of the share of the run that is done, whether steps or time measure it."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lstm_lm.training.config import ScheduleConfig

_FLOOR = 0.01  # of the peak: where a warm-up begins, since a step of nothing would be lost
_CYCLE_START = 0.1  # of the peak: where a cycle begins and ends (Smith & Topin 2018 use a tenth to a twentieth)
_ANNIHILATION = 0.1  # share of the run after the cycle


def learning_rate_factor(fraction: float, config: ScheduleConfig) -> float:
    """The learning rate as a share of its peak: a linear warm-up, then what the schedule's name says.

    Args:
        fraction: Share of the run that is done, in [0, 1].
        config: A schedule other than ``plateau``.

    Returns:
        Factor in (0, 1], or 0 at the end if ``final_fraction`` is.
    """
    if config.name == "one_cycle":
        return _one_cycle(fraction, config.warmup_fraction, config.final_fraction)
    if fraction < config.warmup_fraction:
        return max(fraction / config.warmup_fraction, _FLOOR)
    done = (fraction - config.warmup_fraction) / (1.0 - config.warmup_fraction)
    if config.name == "cosine":  # Loshchilov & Hutter 2017 §3, without restarts
        return _between(config.final_fraction, 1.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    if config.name == "linear":
        return _between(1.0, config.final_fraction, done)
    return 1.0


def _one_cycle(fraction: float, peak_at: float, final: float) -> float:
    """Linear up and linear down, then a short annihilation far below the start (Smith & Topin 2018 §3)."""
    cycle_end = 1.0 - _ANNIHILATION
    if fraction < peak_at:
        return _between(_CYCLE_START, 1.0, fraction / peak_at)
    if fraction < cycle_end:
        return _between(1.0, _CYCLE_START, (fraction - peak_at) / (cycle_end - peak_at))
    return _between(min(_CYCLE_START, final), _CYCLE_START, (1.0 - fraction) / _ANNIHILATION)


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def build_schedule(config: ScheduleConfig, optimizer: Optimizer, fraction: Callable[[], float]) -> dict[str, Any]:
    """The schedule of a spec, as Lightning's ``lr_scheduler`` dictionary.

    Args:
        config: The schedule.
        optimizer: Whose learning rate is changed.
        fraction: Share of the run that is done, in [0, 1]; asked once a step.
    """
    if config.name != "plateau":
        scheduler = LambdaLR(optimizer, lambda _: learning_rate_factor(fraction(), config))
        return {"scheduler": scheduler, "interval": "step"}
    lr = optimizer.param_groups[0]["lr"]
    plateau = ReduceLROnPlateau(
        # final_fraction is the floor; torch's own eps would be another one, whatever the rate began with
        optimizer,
        factor=config.factor,
        patience=config.patience,
        min_lr=lr * config.final_fraction,
        eps=0.0,
    )
    return {"scheduler": plateau, "monitor": "valid/loss", "interval": "epoch", "strict": False}
