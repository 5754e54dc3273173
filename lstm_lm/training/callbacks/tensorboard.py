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
    """Generates a sample per preset at each validation, with the engine that also serves requests.

    Args:
        vocabulary: Vocabulary of the network.
        presets: Sampling presets by name.
        prompt: Text that the samples continue.
        num_words: Words per sample.
        seed: Sampling seed, so that the samples of two runs are comparable.
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
        # not in on_validation_end: AveragedWeights restores the raw weights in its own on_validation_epoch_end
        if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        engine = Engine(TorchBackend(pl_module.model), self.vocabulary, self.presets, next(iter(self.presets)))
        for name, preset in self.presets.items():
            text = engine.generate(self.prompt, preset, self.num_words).text
            trainer.logger.experiment.add_text(f"sample/{name}", text, trainer.global_step)


class EmbeddingProjector(L.Callback):
    """Writes the embeddings of the most frequent words for TensorBoard's projector at the end of training.

    Args:
        vocabulary: Vocabulary of the network, sorted by frequency.
        num_words: Number of words to write.
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
