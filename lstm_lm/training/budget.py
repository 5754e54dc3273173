"""Time budgets: parsing, the epochs that fit, and settings scaled to them."""

import re
from dataclasses import dataclass, replace

from lstm_lm.nn.config import ModelConfig

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_BUDGET = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNIT_SECONDS))

DROPOUTS = ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout")
_MAX_DROPOUT = 0.75
_DROPOUT_POWER = 0.5
_MAX_DROPOUT_FACTOR = 2.0
# docs/results.md has the runs of 400 to 9,880 steps that these lie between; 400 steps have a factor of 2.7
_LR_POWER = -1 / 3
_MAX_LR_FACTOR = 3.0
_DECAY_POWER = 1 / 6
_WORDS_PER_TOKEN = 0.016  # of WikiText-2: reference_steps is for such a corpus
_RARITY_POWER = 1 / 2
_RARITY_RANGE = (0.75, 2.5)
_MIN_MEMORY = 0.05  # with a memory of a few steps, the update of a rare word is as large as the learning rate


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


@dataclass(frozen=True)
class Scaling:
    """Multipliers for settings that were tuned for a run of another length."""

    dropout: float = 1.0
    lr: float = 1.0
    weight_decay: float = 1.0
    row_memory: float = 1.0
    """Of the steps that the second moment of a word's row remembers, 1 / (1 - row_beta2)."""

    def relative_to(self, other: "Scaling") -> "Scaling":
        """What turns settings that ``other`` has scaled into those that this one would have scaled."""
        return Scaling(**{name: value / getattr(other, name) for name, value in vars(self).items()})


def scaling(
    epochs: float,
    steps: float,
    reference_epochs: float,
    reference_steps: int | None = None,
    words_per_token: float = _WORDS_PER_TOKEN,
) -> Scaling:
    """Multipliers for settings that were tuned for a run of ``reference_epochs`` and ``reference_steps``.

    With r the ratio of the epochs and s that of the steps:

    - More passes over a corpus need more dropout: times sqrt(r), at most 2.
    - More steps need a smaller learning rate, on a small and on a large corpus: times s^(-1/3), at most 3.
    - Weight decay counts over the whole run, as the sum of learning rate times decay (Wang and Aitchison 2024, "How to
      set AdamW's weight decay as you scale model and dataset size"). This sum is times s^(1/6), so the decay of a step
      is times s^(-1/2). The more words of a vocabulary are rare, the more decay it needs: times the root of its words
      per token relative to WikiText-2, from 0.75 to 2.5.
    - The second moments of rare words average over a constant fraction of the run: their memory times s, at least 0.05.

    The powers are fits to runs of 400 to 9,880 steps on corpora of 0.26 to 20 million tokens.

    Args:
        epochs: Epochs of this run.
        steps: Its optimizer steps.
        reference_epochs: Epochs that the settings were tuned for.
        reference_steps: Optimizer steps that they were tuned for; ``None`` scales the dropouts only.
        words_per_token: Size of the vocabulary, relative to the tokens of train.
    """
    ratio = epochs / reference_epochs
    dropout = min(ratio**_DROPOUT_POWER, _MAX_DROPOUT_FACTOR)
    if reference_steps is None:
        return Scaling(dropout)
    length = steps / reference_steps
    lr = min(length**_LR_POWER, _MAX_LR_FACTOR)
    low, high = _RARITY_RANGE
    rarity = min(max((words_per_token / _WORDS_PER_TOKEN) ** _RARITY_POWER, low), high)
    return Scaling(dropout, lr, rarity * length**_DECAY_POWER / (length * lr), max(length, _MIN_MEMORY))


def scale_dropouts(config: ModelConfig, factor: float) -> ModelConfig:
    """A copy of ``config`` with every dropout multiplied by ``factor`` and capped at 0.75."""
    scaled = {name: min(getattr(config, name) * factor, _MAX_DROPOUT) for name in DROPOUTS}
    return replace(config, **scaled)
