"""Sanity check: overfit a single window."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import lightning as L

from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule

OVERFIT_FRACTION = 0.05  # of the first loss; a working network falls below it on a single window


def fit_one_batch(trainer: L.Trainer, module: LanguageModelModule, data: LanguageModelDataModule) -> None:
    """Train on the first window of train until ``max_steps``."""
    window = next(iter(data.train_dataloader()))
    assert trainer.max_steps > 0, "overfit_one_batch needs trainer.max_steps"
    trainer.fit(module, train_dataloaders=_RepeatedWindow(window, trainer.max_steps))


@dataclass(frozen=True)
class _RepeatedWindow:
    """A loader that repeats one window; Lightning would treat a list as several loaders."""

    window: Window
    times: int

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Window]:
        return repeat(self.window, self.times)


def check_overfit(training_metrics: TrainingMetrics) -> None:
    """Check that the network has overfitted its window.

    Raises:
        TrainingError: If the last loss is not below 5 % of the first.
    """
    first, last = training_metrics.first_loss, training_metrics.last_loss
    if first is None or not last < OVERFIT_FRACTION * first:
        raise TrainingError(
            f"the model did not overfit one window: the loss went from {first:.4f} to {last:.4f} and must end below "
            f"{OVERFIT_FRACTION:.0%} of its first value; raise trainer.max_steps or change optimizer.lr"
        )
