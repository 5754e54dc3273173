"""Time budgets: parsing, the epochs that fit, and dropouts scaled to them."""

import re
from dataclasses import replace

from lstm_lm.nn.config import ModelConfig

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_BUDGET = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNIT_SECONDS))

DROPOUTS = ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout")
_DROPOUT_POWER = 0.5
_MAX_FACTOR = 2.0
_MAX_DROPOUT = 0.75


def parse_duration(text: str) -> float:
    """Parse a duration such as ``90s``, ``10m``, ``8h`` or ``1h30m``.

    Returns:
        Seconds.

    Raises:
        ValueError: If ``text`` is not a duration, or the duration is 0.
    """
    match = _BUDGET.fullmatch(text.strip())
    parts = match.groupdict() if match else {}
    seconds = sum(_UNIT_SECONDS[unit] * float(number) for unit, number in parts.items() if number)
    if not seconds:
        raise ValueError(f"must be a duration above 0 with a unit (got {text!r}); for example 90s, 10m, 8h or 1h30m")
    return float(seconds)


def planned_epochs(
    remaining_seconds: float,
    tokens_per_second: float,
    epoch_tokens: int,
    validation_time: float,
    val_check_interval: float,
    max_val_fraction: float,
) -> float:
    """Epochs that fit into the remaining time, including the validations before the last one.

    Args:
        remaining_seconds: Time until the last validation starts.
        tokens_per_second: Throughput of the training steps.
        epoch_tokens: Tokens per epoch.
        validation_time: Seconds per validation.
        val_check_interval: Epochs between two validations.
        max_val_fraction: Largest fraction of the time that validations may take.
    """
    period = val_check_interval * epoch_tokens / tokens_per_second
    val_fraction = min(validation_time / (period + validation_time), max_val_fraction)
    return (1.0 - val_fraction) * remaining_seconds * tokens_per_second / epoch_tokens


def dropout_factor(epochs: float, reference_epochs: float) -> float:
    """Multiplier for dropouts that were chosen for another number of epochs.

    More passes over a corpus need more regularization: ``sqrt(epochs / reference_epochs)``, at most 2. The square root
    is an empirical choice.

    Args:
        epochs: Epochs of this run.
        reference_epochs: Epochs that the dropouts were chosen for.
    """
    return float(min((epochs / reference_epochs) ** _DROPOUT_POWER, _MAX_FACTOR))


def scale_dropouts(config: ModelConfig, factor: float) -> ModelConfig:
    """A copy of ``config`` with every dropout multiplied by ``factor`` and capped at 0.75."""
    scaled = {name: min(getattr(config, name) * factor, _MAX_DROPOUT) for name in DROPOUTS}
    return replace(config, **scaled)
