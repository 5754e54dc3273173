"""What a terminal or a log file shows of a run."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import BatchesProcessedColumn, CustomBarColumn
from rich.console import Console
from rich.progress import ProgressColumn, TextColumn
from typing_extensions import override

from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import NO_EPOCH_LIMIT


def progress_display(training_metrics: TrainingMetrics) -> L.Callback:
    """A bar on a terminal, a few lines where the output is a file."""
    return ProgressBar(training_metrics) if Console().is_terminal else ProgressLines(training_metrics)


class ProgressBar(RichProgressBar):
    """Shows epoch, loss, perplexity, tokens per second and the remaining time of the run.

    Args:
        training_metrics: Source of the figures.
    """

    def __init__(self, training_metrics: TrainingMetrics) -> None:
        super().__init__(refresh_rate=4)
        self.training_metrics = training_metrics

    @override
    def configure_columns(self, trainer: L.Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(bar_width=20),
            BatchesProcessedColumn(style=self.theme.batch_progress),
        ]

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        total = "" if self.trainer.max_epochs == NO_EPOCH_LIMIT else f"/{self.trainer.max_epochs}"
        return f"Epoch {current_epoch + 1}{total} "

    @override
    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return dict(self.training_metrics.display_values(trainer))


class ProgressLines(L.Callback):
    """One line at the start and one at each validation, where the output is a file and not a terminal.

    Args:
        training_metrics: Source of the figures.
    """

    def __init__(self, training_metrics: TrainingMetrics) -> None:
        self.training_metrics = training_metrics

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            windows = f"{trainer.num_training_batches:,} windows per epoch"
            start = f", from step {trainer.global_step:,}" if trainer.global_step else ""
            Console().print(f"training: {windows}{start}", soft_wrap=True, highlight=False)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            entry = self.training_metrics.history[-1]
            Console().print(
                f"epoch {entry['epoch']:.2f}, step {entry['step']:,}, {entry['minutes']:.1f} min: "
                f"valid perplexity {entry['perplexity']:.2f}",
                soft_wrap=True,
                highlight=False,
            )
