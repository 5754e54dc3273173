"""Can a network learn at all? One window again and again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import lightning as L

from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule

OVERFIT_SHARE = 0.05  # of the first loss: what a network that learns reaches on a single window


def fit_one_window(trainer: L.Trainer, module: LanguageModelModule, data: LanguageModelDataModule) -> None:
    """Train on the first window of train until ``max_steps``."""
    window = next(iter(data.train_dataloader()))
    assert trainer.max_steps > 0, "overfit_one_batch needs trainer.max_steps"
    trainer.fit(module, train_dataloaders=_Repeated(window, trainer.max_steps))


@dataclass(frozen=True)
class _Repeated:
    """A loader that gives one window again and again; a list Lightning would take for several loaders."""

    window: Window
    times: int

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Window]:
        return repeat(self.window, self.times)


def check_overfit(curves: TrainingMetrics) -> None:
    """Refuse a run that did not learn its window.

    Raises:
        TrainingError: If the last loss is not below 5 % of the first.
    """
    first, last = curves.first_loss, curves.last_loss
    if first is None or not last < OVERFIT_SHARE * first:
        raise TrainingError(
            f"one window was not learnt by heart: the loss went from {first:.4f} to {last:.4f}, and must fall below "
            f"{OVERFIT_SHARE:.0%} of its start; try more trainer.max_steps or another optimizer.lr"
        )
