"""The network at the start of a run: unigram bias, word vectors, or the weights of a trained model."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lstm_lm.checkpoint import CheckpointMetadata
from lstm_lm.data.encoding import EncodedCorpus
from lstm_lm.data.word_vectors import word_vectors
from lstm_lm.errors import ConfigError
from lstm_lm.loading import load_model
from lstm_lm.nn.config import LOSS_NAMES, LossConfig, ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.saved_model import InitFrom, SavedModel
from lstm_lm.settings import show
from lstm_lm.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def initial_network(
    config: ModelConfig,
    corpus: EncodedCorpus,
    seed: int = 1,
    embedding_init: str = "random",
    init_from: str | Path | None = None,
) -> tuple[LSTMLanguageModel, InitFrom | None]:
    """Build and initialize a network; the output bias starts from the word frequencies.

    Args:
        config: Sizes and dropouts.
        corpus: The training corpus.
        seed: Seed of the random weights.
        embedding_init: ``random``, or ``cooccurrence``: word vectors from co-occurrence counts on train.
        init_from: A checkpoint, bundle or run folder to take weights from: see :func:`warm_start`.

    Returns:
        The network, and what was taken from ``init_from``.

    Raises:
        ValueError: If ``config`` is invalid.
        CheckpointError, BundleError, ConfigError: As :func:`warm_start`.
    """
    vocabulary = corpus.vocabulary
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LSTMLanguageModel(config, len(vocabulary))
    model.init_bias_from_unigrams(torch.tensor(vocabulary.counts))
    if embedding_init == "cooccurrence":
        model.init_embedding(word_vectors(corpus.splits["train"], len(vocabulary), config.embedding_dim, seed))
    return model, None if init_from is None else warm_start(model, vocabulary, init_from)


def warm_start(model: LSTMLanguageModel, vocabulary: Vocabulary, path: str | Path) -> InitFrom:
    """Copy the weights of a trained model: the layers, and the rows of the words that both vocabularies have.

    Everything else stays as it was initialized. The weights of a bundle are those of ``model.safetensors``, float16 or
    float32; its int8 graph is not used.

    Args:
        model: The new network, initialized. Changed in place.
        vocabulary: Its vocabulary.
        path: A checkpoint, a bundle or a run folder.

    Returns:
        What was copied.

    Raises:
        CheckpointError, BundleError: If the model cannot be loaded.
        ConfigError: If the networks have different sizes.
    """
    source = load_model(path)
    before, now = asdict(source.metadata.model.with_all_options()), asdict(model.config.with_all_options())
    differing = [name for name in now if not name.endswith("dropout") and before[name] != now[name]]
    if differing:
        remedy = " ".join(f"model.{name}={show(before[name])}" for name in differing)
        raise ConfigError(
            [
                f"model.{name}: {show(now[name])} here, but {show(before[name])} in {path}; init_from needs a network "
                f"of the same sizes: set {remedy}"
                for name in differing
            ]
        )
    ids = [index for index, word in enumerate(vocabulary.words) if word in source.vocabulary]
    source_ids = source.vocabulary.encode(vocabulary.word(index) for index in ids)
    same = vocabulary.fingerprint == source.vocabulary.fingerprint
    model.copy_weights(source.network, torch.tensor(ids), torch.tensor(source_ids), same_vocabulary=same)
    result = InitFrom(source.name, len(ids), len(vocabulary))
    log.info("init_from=%s: the layers and the rows of %s", path, result.describe())
    return result


def saved_run(path: str | Path) -> tuple[SavedModel, EncodedCorpus, dict[str, Any]]:
    """A trained model with what its module needs: the corpus without its text, and the arguments that were saved.

    Raises:
        CheckpointError, BundleError: If the model cannot be loaded.
    """
    saved = load_model(path)
    metadata = saved.metadata
    corpus = EncodedCorpus(saved.vocabulary, {}, metadata.tokenizer, metadata.data, {})
    arguments: dict[str, Any] = {"presets": {**metadata.presets, "default": metadata.presets[metadata.default_preset]}}
    if isinstance(metadata, CheckpointMetadata) and metadata.run.get("loss") in LOSS_NAMES:
        arguments["loss"] = LossConfig(metadata.run["loss"])
    return saved, corpus, arguments
