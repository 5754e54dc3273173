"""Small untrained networks with a small vocabulary, as checkpoints and bundles."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from lstm_lm.bundle import Bundle
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import EncodedCorpus
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.export.bundle_writer import write_bundle
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.saved_model import ModelMetadata
from lstm_lm.text.vocabulary import Vocabulary

_LINE = """
the , . of <unk> and in to <eos> a @-@ " - I The 's was want that people do n't @,@ 1 000 don 't cat dog cats London
theatre McDonald well known went home they saw it not very old new town river ( ) don't
"""
WORDS = tuple(_LINE.split())

PRESETS = {
    "greedy": SamplingConfig(strategy="greedy"),
    "balanced": SamplingConfig(temperature=0.9, top_k=20, top_p=0.95, repeat_penalty=1.1, repeat_window=40),
    "creative": SamplingConfig(temperature=1.2),
}


def small_vocabulary() -> Vocabulary:
    """49 words in WikiText's spelling."""
    return Vocabulary(WORDS, [1000 // (rank + 1) for rank in range(len(WORDS))])


def small_corpus() -> EncodedCorpus:
    """A corpus without text, for a module over :func:`small_vocabulary`."""
    return EncodedCorpus(small_vocabulary(), {}, "whitespace", DataConfig(source="text_files", dir="nowhere"), {})


def small_network(config: ModelConfig | None = None, seed: int = 0) -> LSTMLanguageModel:
    """A network in eval mode with weights large enough that predictions differ between words."""
    torch.manual_seed(seed)
    network = LSTMLanguageModel(config or ModelConfig(embedding_dim=16, hidden_dims=[24, 16]), len(WORDS))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-1.0, 1.0)
    return network.eval()


def small_engine(network: LSTMLanguageModel | None = None) -> Engine:
    """An engine over a small network."""
    return Engine(TorchBackend(network or small_network()), small_vocabulary(), PRESETS, "balanced")


def checkpoint_content(network: LSTMLanguageModel) -> dict[str, Any]:
    """The content of a checkpoint of ``lstm-lm train``."""
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in network.state_dict().items()},
        "lstm_lm": {
            "format": 2,
            "model": asdict(network.config),
            "vocabulary": small_vocabulary().to_dict(),
            "tokenizer": "whitespace",
            # the corpus is not available, as on a machine that only serves the model
            "data": asdict(DataConfig(source="text_files", dir="not/on/this/machine")),
            "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
            "default_preset": "balanced",
            "metrics": {"valid": {"loss": 4.0, "perplexity": 54.6, "top1": 0.25, "top5": 0.5}},
            "epoch": 3,
        },
    }


def write_small_checkpoint(path: Path, network: LSTMLanguageModel | None = None) -> Path:
    """Write a checkpoint file."""
    torch.save(checkpoint_content(network or small_network()), path)
    return path


def write_small_bundle(path: Path, network: LSTMLanguageModel | None = None) -> Path:
    """Write a bundle folder and, beside it, its checkpoint."""
    export_bundle(write_small_checkpoint(path.with_suffix(".ckpt"), network), path)
    return path


def write_plain_bundle(path: Path, **changes: Any) -> Bundle:
    """Write a bundle without graphs; ``changes`` are arguments of ``write_bundle`` or fields of its metadata."""
    network = small_network()
    metadata = ModelMetadata(
        model=network.config,
        tokenizer="whitespace",
        data=DataConfig(source="text_files"),
        presets=PRESETS,
        default_preset="balanced",
    )
    of_metadata = {field.name: changes.pop(field.name) for field in fields(metadata) if field.name in changes}
    arguments: dict[str, Any] = {
        "metadata": replace(metadata, **of_metadata),
        "weights": {name: tensor.numpy() for name, tensor in network.state_dict().items()},
        "vocabulary": small_vocabulary(),
        "card": "# card\n",
    }
    return write_bundle(path, **arguments | changes)
