"""What is known of a model beyond what its engine needs."""

from dataclasses import dataclass
from typing import Any

from lstm_lm.nn.config import ModelConfig


@dataclass(frozen=True)
class ModelInfo:
    """A model in words and figures, for whoever asks the service what it serves.

    Attributes:
        name: Of its folder or file.
        model: What the network is made of.
        tokenizer: How its corpus was cut into words.
        data: Corpus and vocabulary settings, without places on a machine.
        metrics: Scores by split.
    """

    name: str
    model: ModelConfig
    tokenizer: str
    data: dict[str, Any]
    metrics: dict[str, Any]
