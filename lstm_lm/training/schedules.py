"""Learning-rate schedules: pure functions of the completed fraction of the run, by steps or by time.

The shipped options of the group ``schedule`` call the functions of this module; any scheduler of torch works too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lstm_lm.imports import resolve
from lstm_lm.training.targets import TARGET, build, parameters

_FLOOR = 0.01  # of the peak: start of the warm-up, because a step with lr 0 is wasted
_CYCLE_START = 0.1  # of the peak: start and end of the cycle (Smith & Topin 2018 use a tenth to a twentieth)
_FINAL_DECAY = 0.1  # fraction of the run after the cycle

Fraction = Callable[[], float]
"""Returns the completed fraction of the run, in [0, 1]; called once per step."""


def constant(optimizer: Optimizer, fraction: Fraction, warmup_fraction: float = 0.0) -> LambdaLR:
    """The peak after the warm-up.

    Raises:
        ValueError: If ``warmup_fraction`` is not in [0, 1).
    """
    return _after_warmup(optimizer, fraction, warmup_fraction, lambda _: 1.0)


def cosine(
    optimizer: Optimizer, fraction: Fraction, warmup_fraction: float = 0.1, final_fraction: float = 0.01
) -> LambdaLR:
    """Warm-up, then half a cosine to ``final_fraction`` (Loshchilov & Hutter 2017 §3, without restarts).

    Args:
        optimizer: Its learning rate is the peak.
        fraction: The completed fraction of the run.
        warmup_fraction: Fraction of the run in which the learning rate rises linearly to its peak.
        final_fraction: Final learning rate as a fraction of the peak.

    Raises:
        ValueError: If an argument is out of its range.
    """
    _check_final(final_fraction)
    return _after_warmup(
        optimizer,
        fraction,
        warmup_fraction,
        lambda progress: _lerp(final_fraction, 1.0, 0.5 * (1.0 + math.cos(math.pi * progress))),
    )


def linear(
    optimizer: Optimizer, fraction: Fraction, warmup_fraction: float = 0.1, final_fraction: float = 0.01
) -> LambdaLR:
    """Warm-up, then linear to ``final_fraction``; arguments and errors as in :func:`cosine`."""
    _check_final(final_fraction)
    return _after_warmup(optimizer, fraction, warmup_fraction, lambda progress: _lerp(1.0, final_fraction, progress))


def one_cycle(
    optimizer: Optimizer, fraction: Fraction, warmup_fraction: float = 0.3, final_fraction: float = 0.001
) -> LambdaLR:
    """Linear up, linear down, then a short decay far below the start (Smith & Topin 2018 §3, "annihilation").

    Raises:
        ValueError: If an argument is out of its range.
    """
    cycle_end = 1.0 - _FINAL_DECAY
    if not 0.0 < warmup_fraction < cycle_end:
        raise ValueError(
            f"warmup_fraction: must be above 0 and below {cycle_end}, where the final decay starts "
            f"(got {warmup_fraction}); try 0.3"
        )
    _check_final(final_fraction)

    def factor(completed: float) -> float:
        if completed < warmup_fraction:
            return _lerp(_CYCLE_START, 1.0, completed / warmup_fraction)
        if completed < cycle_end:
            return _lerp(1.0, _CYCLE_START, (completed - warmup_fraction) / (cycle_end - warmup_fraction))
        return _lerp(min(_CYCLE_START, final_fraction), _CYCLE_START, (1.0 - completed) / _FINAL_DECAY)

    return LambdaLR(optimizer, lambda _: factor(fraction()))


def plateau(
    optimizer: Optimizer, factor: float = 0.25, patience: int = 0, final_fraction: float = 0.001
) -> ReduceLROnPlateau:
    """Multiply the learning rate by ``factor`` after more than ``patience`` validations without improvement.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if not 0.0 < factor < 1.0:
        raise ValueError(f"factor: must be between 0 and 1 (got {factor}); try 0.25")
    if patience < 0:
        raise ValueError(f"patience: must not be negative (got {patience})")
    _check_final(final_fraction)
    # final_fraction is the floor; torch's eps would be a second, absolute one
    floor = optimizer.param_groups[0]["lr"] * final_fraction
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=floor, eps=0.0)


def _after_warmup(
    optimizer: Optimizer, fraction: Fraction, warmup_fraction: float, schedule: Callable[[float], float]
) -> LambdaLR:
    """A linear warm-up, then ``schedule`` of the fraction of the run after it."""
    if not 0.0 <= warmup_fraction < 1.0:
        raise ValueError(f"warmup_fraction: must be in [0, 1) (got {warmup_fraction}); try 0.1")

    def factor(completed: float) -> float:
        if completed < warmup_fraction:
            return max(completed / warmup_fraction, _FLOOR)
        return schedule((completed - warmup_fraction) / (1.0 - warmup_fraction))

    return LambdaLR(optimizer, lambda _: factor(fraction()))


def _check_final(final_fraction: float) -> None:
    if not 0.0 <= final_fraction <= 1.0:
        raise ValueError(f"final_fraction: must be in [0, 1] (got {final_fraction}); try 0.01")


def _lerp(start: float, end: float, weight: float) -> float:
    return start + (end - start) * weight


def build_schedule(config: Mapping[str, Any], optimizer: Optimizer, fraction: Fraction) -> dict[str, Any]:
    """Build Lightning's ``lr_scheduler`` dictionary: a ``ReduceLROnPlateau`` acts per validation, others per step.

    Args:
        config: ``_target_`` and its arguments.
        optimizer: The optimizer to schedule.
        fraction: Passed to a schedule that takes it, as the ones of this module do.

    Raises:
        ConfigError: If the scheduler rejects its arguments.
    """
    scheduler = build(config, "schedule", optimizer=optimizer, fraction=fraction)
    if isinstance(scheduler, ReduceLROnPlateau):
        return {"scheduler": scheduler, "monitor": "valid/loss", "interval": "epoch", "strict": False}
    return {"scheduler": scheduler, "interval": "step"}


def follows_length(config: Mapping[str, Any]) -> bool:
    """Whether a schedule depends on the length of the run."""
    target = resolve(config[TARGET])
    return "fraction" in parameters(target) and not (target is constant and not config.get("warmup_fraction"))
