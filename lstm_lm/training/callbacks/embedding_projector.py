"""The embeddings of a trained network in the loggers."""

import lightning as L
from typing_extensions import override

from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.loggers import log_embeddings
from lstm_lm.training.module import LanguageModelModule


class EmbeddingProjector(L.Callback):
    """Logs the embeddings of the most frequent words at the end of training, for the projector of TensorBoard or W&B.

    Args:
        vocabulary: Vocabulary of the network, sorted by frequency.
        num_words: Number of words.

    Raises:
        ValueError: If ``num_words`` is below 1.
    """

    def __init__(self, vocabulary: Vocabulary, num_words: int = 2000) -> None:
        if num_words < 1:
            raise ValueError(f"num_words: must be at least 1 (got {num_words})")
        self.words = list(vocabulary.words[:num_words])

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        # not in on_train_end: there AveragedWeights copies the average into the network
        if trainer.is_global_zero:
            embeddings = pl_module.model.embedding.weight.detach()[: len(self.words)]
            for logger in trainer.loggers:
                log_embeddings(logger, self.words, embeddings, trainer.global_step)
