"""Hyperparameters, final metrics and figures in the loggers."""

from dataclasses import asdict
from typing import Any

import lightning as L
from typing_extensions import override

from lstm_lm.checkpoint import METRICS
from lstm_lm.report.figures import score_figures
from lstm_lm.text.files import write_json
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.loggers import FINAL, FINAL_METRIC, finish, log_figure
from lstm_lm.training.module import LanguageModelModule


class RunSummary(L.Callback):
    """Logs the hyperparameters at the start of a run, its final metrics at the end, however it ends, and its figures.

    Writes the history of validations to ``metrics.json``, which the run completes when it ends.

    Args:
        config: Config of the run.
        time_budget: Measures its time.
        training_metrics: Counts its tokens.
        checkpoints: Knows the best score.
    """

    def __init__(
        self,
        config: TrainConfig,
        time_budget: TimeBudget,
        training_metrics: TrainingMetrics,
        checkpoints: BestAndLastCheckpoint,
    ) -> None:
        self.config = config
        self.time_budget = time_budget
        self.training_metrics = training_metrics
        self.checkpoints = checkpoints

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for logger in trainer.loggers:
            logger.log_hyperparams(hyperparameters(self.config))

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            write_json(self.checkpoints.folder.parent / METRICS, {"history": self.training_metrics.history})

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        self._log_final(trainer)
        if self.checkpoints.best_tokens is not None and trainer.loggers:
            for name, figure in score_figures(self.checkpoints.best_tokens, len(pl_module.scorer.vocabulary)).items():
                for logger in trainer.loggers:
                    log_figure(logger, f"valid/{name}", figure, trainer.global_step)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._log_final(trainer)
        for logger in trainer.loggers:
            finish(logger, failed=True)

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for logger in trainer.loggers:
            finish(logger, failed=False)

    def _log_final(self, trainer: L.Trainer) -> None:
        epochs, minutes = self.training_metrics.epochs, self.time_budget.elapsed() / 60.0
        metrics = {f"{FINAL}/epochs": epochs, f"{FINAL}/minutes": minutes}
        if (score := self.checkpoints.best_score) is not None:
            metrics |= {FINAL_METRIC: score["perplexity"], f"{FINAL}/valid_loss": score["loss"]}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, trainer.global_step)


def hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """The settings that can change a score: not the sampling presets, the loggers and where a run resumes."""
    left_out = ("presets", "sampling", "logger", "resume", "name", "tags", "notes")
    return {name: value for name, value in asdict(config).items() if name not in left_out}
