"""A budget in time: reading it, and what follows from it."""

import re
from dataclasses import replace

from lstm_lm.nn.config import ModelConfig

_PARTS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_BUDGET = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _PARTS))

DROPOUTS = ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout")
_DROPOUT_POWER = 0.5
_LARGEST_FACTOR = 2.0
_LARGEST_DROPOUT = 0.75


def parse_budget(text: str) -> float:
    """Read a time such as ``90s``, ``10m``, ``8h`` or ``1h30m``.

    Returns:
        Seconds.

    Raises:
        ValueError: If the text is none or the time is 0.
    """
    match = _BUDGET.fullmatch(text.strip())
    seconds = sum(_PARTS[unit] * float(number) for unit, number in match.groupdict().items() if number) if match else 0
    if not seconds:
        raise ValueError(f"must be a time above 0 with its unit (got {text!r}); write it as in 90s, 10m, 8h or 1h30m")
    return float(seconds)


def planned_epochs(
    learning_seconds: float,
    tokens_per_second: float,
    epoch_tokens: int,
    validation_seconds: float,
    val_check_interval: float,
    max_val_fraction: float,
) -> float:
    """How many epochs fit into the time that is left, validations on the way included.

    Args:
        learning_seconds: Time until the last validation begins.
        tokens_per_second: Speed of the training steps.
        epoch_tokens: Tokens of an epoch.
        validation_seconds: Time that one validation takes.
        val_check_interval: Epochs between two validations.
        max_val_fraction: Largest share of the time that they may take.
    """
    period = val_check_interval * epoch_tokens / tokens_per_second
    share = min(validation_seconds / (period + validation_seconds), max_val_fraction)
    return (1.0 - share) * learning_seconds * tokens_per_second / epoch_tokens


def dropout_factor(epochs: float, meant_for: float) -> float:
    """By how much to multiply dropouts that are meant for another number of epochs.

    A network that sees its corpus more often needs more noise: ``sqrt(epochs / meant_for)``, at most 2. The square
    root is an empirical choice.

    Args:
        epochs: Epochs of this run.
        meant_for: Epochs for which the dropouts were chosen.
    """
    return float(min((epochs / meant_for) ** _DROPOUT_POWER, _LARGEST_FACTOR))


def scale_dropouts(config: ModelConfig, factor: float) -> ModelConfig:
    """The same network with every dropout multiplied by ``factor``, none of them above 0.75."""
    scaled = {name: min(getattr(config, name) * factor, _LARGEST_DROPOUT) for name in DROPOUTS}
    return replace(config, **scaled)
