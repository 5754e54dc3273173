"""The corpus as Lightning asks for it."""

from typing import Any

import lightning as L

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.data.encoding import EncodedCorpus, Progress, load_corpus
from lstm_lm.data.streams import EvalWindows, TrainWindows


class LanguageModelDataModule(L.LightningDataModule):
    """Training windows that can be resumed anywhere, and evaluation windows that leave nothing out.

    With several processes each trains its own columns, and all evaluate everything: their scores agree.

    Args:
        data: The corpus.
        batching: Sizes of the batches.
        seed: What rotation and jitter of the training windows are drawn from.
        progress: Told how far the corpus is encoded.
    """

    def __init__(self, data: DataConfig, batching: BatchingConfig, seed: int, progress: Progress | None = None) -> None:
        super().__init__()
        self._data = data
        self._batching = batching
        self._seed = seed
        self._progress = progress
        self._corpus: EncodedCorpus | None = None
        self._train_windows: TrainWindows | None = None
        self._train_state: dict[str, int] | None = None

    @property
    def corpus(self) -> EncodedCorpus:
        """The corpus; there after :meth:`setup`."""
        assert self._corpus is not None, "setup() comes first"
        return self._corpus

    def prepare_data(self) -> None:
        """Encode in one process of a machine; the others find it in the cache."""
        load_corpus(self._data, self._progress)

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  # Lightning names it
        """Open the corpus; a second call changes nothing."""
        if self._corpus is None:
            self._corpus = load_corpus(self._data, self._progress)

    def train_dataloader(self) -> TrainWindows:
        """Training windows, from where a checkpoint left them."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        windows = TrainWindows(
            self.corpus.splits["train"],
            self._batching,
            self._seed,
            self.corpus.vocabulary.eos_id,
            rank=rank,
            world_size=world_size,
        )
        if self._train_state is not None:
            windows.load_state_dict(self._train_state)
            self._train_state = None
        self._train_windows = windows
        return windows

    def val_dataloader(self) -> EvalWindows:
        """Windows over the whole of valid."""
        return self._eval_windows("valid")

    def test_dataloader(self) -> EvalWindows:
        """Windows over the whole of test."""
        return self._eval_windows("test")

    def _eval_windows(self, split: str) -> EvalWindows:
        return EvalWindows(
            self.corpus.splits[split],
            self._batching.eval_batch_size,
            self._batching.bptt_length,
            self.corpus.vocabulary.eos_id,
        )

    def state_dict(self) -> dict[str, Any]:
        """Place in the training windows.

        Lightning saves the loader's own state too, but hands it back only to an epoch that was broken off: after a
        checkpoint of an epoch's end, the next epoch would be the first one again.
        """
        return {} if self._train_windows is None else {"train_windows": self._train_windows.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the place for the training windows to come."""
        self._train_state = state_dict.get("train_windows")
