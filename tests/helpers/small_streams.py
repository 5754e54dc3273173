"""A network with a vocabulary of eight words, and random streams for it."""

import numpy as np
import torch

from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "<eos>", ",", "<unk>", "=", "@-@", "1990", "é"], [8, 7, 6, 5, 4, 3, 2, 1])


def network(config: ModelConfig | None = None) -> LSTMLanguageModel:
    """A network with weights large enough that predictions differ between words."""
    torch.manual_seed(0)
    model = LSTMLanguageModel(config or ModelConfig(6, [9, 6], input_dropout=0.5, weight_dropout=0.5), len(VOCABULARY))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.8, 0.8)
    return model


def stream(length: int, seed: int = 0) -> np.ndarray:
    """Random word ids."""
    return np.random.default_rng(seed).integers(len(VOCABULARY), size=length).astype(np.int32)
