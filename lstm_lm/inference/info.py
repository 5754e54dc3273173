"""Model metadata that the engine itself does not need."""

from dataclasses import dataclass
from typing import Any

from lstm_lm.nn.config import ModelConfig


@dataclass(frozen=True)
class ModelInfo:
    """Describes the model that a service runs."""

    name: str
    """Name of its folder or file."""
    model: ModelConfig
    """Network sizes."""
    num_parameters: int
    """Number of weights; tied ones count once."""
    tokenizer: str
    """Tokenizer of its corpus."""
    data: dict[str, Any]
    """Corpus and vocabulary settings, without local paths."""
    metrics: dict[str, Any]
    """Scores by split."""
