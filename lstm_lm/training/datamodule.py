"""The LightningDataModule of an encoded corpus."""

from functools import cached_property
from typing import Any

import lightning as L
import torch

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.data.encoding import EncodedCorpus, EncodingProgress, load_corpus
from lstm_lm.data.streams import EvalWindows, TrainWindows
from lstm_lm.evaluation.config import EvaluationConfig


class LanguageModelDataModule(L.LightningDataModule):
    """Training windows that can be resumed at any step, and evaluation windows that cover every token.

    Valid is read as ``batching.eval_batch_size`` streams, which is fast; test as one stream, as ``lstm-lm eval`` does.
    With several processes, each trains on its own streams and evaluates everything, so their scores agree.

    Args:
        data: The corpus, or its config.
        batching: Batch sizes and window length.
        seed: Seed of the random offset and jitter of the training windows.
        progress: Called with the progress of the encoding.
    """

    def __init__(
        self,
        data: DataConfig | EncodedCorpus,
        batching: BatchingConfig | None = None,
        seed: int = 1,
        progress: EncodingProgress | None = None,
    ) -> None:
        super().__init__()
        self._data = data
        self._batching = BatchingConfig() if batching is None else batching
        self._seed = seed
        self._progress = progress
        self._train_windows: TrainWindows | None = None
        self._train_state: dict[str, int] | None = None

    @cached_property
    def corpus(self) -> EncodedCorpus:
        """The corpus, loaded at the first use, and encoded first unless the cache has it.

        Raises:
            ConfigError, DataError: As ``load_corpus``.
        """
        return self._data if isinstance(self._data, EncodedCorpus) else load_corpus(self._data, self._progress)

    def prepare_data(self) -> None:
        """Encode the corpus in one process per machine; the others read the cache."""
        _ = self.corpus

    def train_dataloader(self) -> TrainWindows:
        """Training windows, starting where a loaded checkpoint stopped."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        windows = TrainWindows(
            self.corpus.splits["train"],
            self._batching,
            self._seed,
            self.corpus.vocabulary.eos_id,
            rank=rank,
            world_size=world_size,
            device=self._gpu,
        )
        if self._train_state is not None:
            windows.load_state_dict(self._train_state)
            self._train_state = None
        self._train_windows = windows
        return windows

    def val_dataloader(self) -> EvalWindows:
        """Windows over the complete valid split."""
        return self._eval_windows("valid", self._batching.eval_batch_size, self._batching.bptt_length)

    def test_dataloader(self) -> EvalWindows:
        """Windows over the complete test split, as one stream."""
        config = EvaluationConfig()
        return self._eval_windows("test", config.batch_size, config.words_per_window)

    def _eval_windows(self, split: str, num_streams: int, length: int) -> EvalWindows:
        corpus = self.corpus
        return EvalWindows(corpus.splits[split], num_streams, length, corpus.vocabulary.eos_id, device=self._gpu)

    @property
    def _gpu(self) -> torch.device | None:
        """The device that windows are built on; ``None`` is the CPU."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return None if device.type == "cpu" else device

    def state_dict(self) -> dict[str, Any]:
        """Position in the training windows.

        Lightning also saves the state of the loader, but restores it only in the middle of an epoch: after a checkpoint
        from the end of an epoch, the run would start with the windows of epoch 0 again.
        """
        return {} if self._train_windows is None else {"train_windows": self._train_windows.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the position for the next :meth:`train_dataloader`."""
        self._train_state = state_dict.get("train_windows")
