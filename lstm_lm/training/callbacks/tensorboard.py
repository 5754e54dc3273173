"""Text samples and the embedding projector in TensorBoard."""

import dataclasses
from collections.abc import Mapping

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.module import LanguageModelModule


class TextSamples(L.Callback):
    """Generates from every preset at each validation, with the engine that also serves.

    Args:
        vocabulary: Words of the network.
        presets: Sampling presets by name.
        prompt: What the samples go on from.
        num_words: Words of each.
        seed: Makes the samples of two runs comparable.
    """

    def __init__(
        self, vocabulary: Vocabulary, presets: Mapping[str, SamplingConfig], prompt: str, num_words: int, seed: int
    ) -> None:
        self.vocabulary = vocabulary
        self.presets = {name: dataclasses.replace(preset, seed=seed) for name, preset in presets.items()}
        self.prompt = prompt
        self.num_words = num_words

    @override
    def on_validation_epoch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        # here, not at the end of the validation: averaged weights are in place until this hook of theirs
        if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        engine = Engine(TorchBackend(pl_module.model), self.vocabulary, self.presets, next(iter(self.presets)))
        for name, preset in self.presets.items():
            text = engine.generate(self.prompt, preset, self.num_words).text
            trainer.logger.experiment.add_text(f"sample/{name}", text, trainer.global_step)


class EmbeddingProjector(L.Callback):
    """Writes the embedding of the most frequent words for TensorBoard's projector when training ends.

    Args:
        vocabulary: Words of the network, sorted by frequency.
        num_words: How many of them.
    """

    def __init__(self, vocabulary: Vocabulary, num_words: int) -> None:
        self.vocabulary = vocabulary
        self.num_words = num_words

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            words = list(self.vocabulary.words[: self.num_words])
            trainer.logger.experiment.add_embedding(
                pl_module.model.embedding.weight.detach()[: len(words)],
                metadata=words,
                tag="embedding",
                global_step=trainer.global_step,
            )
