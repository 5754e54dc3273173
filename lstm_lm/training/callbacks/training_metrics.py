"""The curves of a run: measured once, shown in TensorBoard, in the log and in the progress bar."""

import logging
import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import BatchesProcessedColumn, CustomBarColumn
from rich.progress import ProgressColumn, TextColumn
from typing_extensions import override

from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.score import target_rank
from lstm_lm.serialization import check_plain
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.config import NO_EPOCH_LIMIT
from lstm_lm.training.module import LanguageModelModule

log = logging.getLogger(__name__)

_SMOOTHING = 0.98  # of the loss that is shown
_SECONDS_BETWEEN_LINES = 60.0
_TOP_K_TOKENS = 256  # of a window, for train's top-1 and top-5: exact over the vocabulary, yet cheap


class TrainingMetrics(L.Callback):
    """Loss, perplexity, top-1, top-5, learning rate, gradient norm and tokens a second.

    Args:
        clock: How far the run is.
        log_every_n_steps: Steps between two points.
        epoch_tokens: Tokens of one pass over train.

    Attributes:
        history: One entry a validation: epoch, step, minutes, tokens and the score.
        tokens: Tokens trained on.
        measured_tokens: Those since the start or the resume.
        training_seconds: Time that they took, validations left out.
        first_loss: Loss of the first window, nats a token.
        last_loss: Loss of the latest window.
    """

    def __init__(self, clock: TimeBudget, log_every_n_steps: int, epoch_tokens: int) -> None:
        self.clock = clock
        self.epoch_tokens = epoch_tokens
        self.log_every_n_steps = log_every_n_steps
        self.history: list[dict[str, Any]] = []
        self.tokens = 0
        self.measured_tokens = 0
        self.training_seconds = 0.0
        self.first_loss: float | None = None
        self.last_loss = math.nan
        self._smooth_loss: float | None = None
        self._window_start = 0.0
        self._window_tokens = 0
        self._tokens_per_second = 0.0
        self._batch_end = 0.0
        self._last_line = time.monotonic()

    @property
    def mean_tokens_per_second(self) -> float:
        """Tokens a second of training, validations left out, since the start or the resume."""
        return self.measured_tokens / self.training_seconds if self.training_seconds else 0.0

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.measured_tokens = 0
        self._batch_end = self._window_start = time.monotonic()

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Window, batch_idx: int
    ) -> None:
        now, tokens, nll = time.monotonic(), batch.target_ids.numel() * trainer.world_size, float(outputs["nll"])
        self.tokens += tokens
        self.measured_tokens += tokens
        self._window_tokens += tokens
        self.training_seconds += now - self._batch_end
        self._batch_end = now
        self.first_loss = nll if self.first_loss is None else self.first_loss
        self.last_loss = nll
        smooth = nll if self._smooth_loss is None else self._smooth_loss
        self._smooth_loss = _SMOOTHING * smooth + (1.0 - _SMOOTHING) * nll
        if trainer.global_step % self.log_every_n_steps:
            return
        self._tokens_per_second = self._window_tokens / max(now - self._window_start, 1e-9)
        self._window_start, self._window_tokens = now, 0
        self._log_point(trainer, pl_module, outputs, batch, nll)
        if now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            figures = "  ".join(f"{name} {value}" for name, value in self.shown(trainer).items())
            log.info("epoch %.2f  %s", self.tokens / self.epoch_tokens, figures)

    def _log_point(
        self, trainer: L.Trainer, module: LanguageModelModule, outputs: Any, batch: Window, nll: float
    ) -> None:
        if trainer.logger is None:
            return
        # in full precision: here nothing casts for a step in bfloat16
        features, target_ids = outputs["features"].flatten(0, 1)[:_TOP_K_TOKENS].float(), batch.target_ids.flatten()
        with torch.no_grad():
            rank = target_rank(module.model.logits(features), target_ids[:_TOP_K_TOKENS])
        trainer.logger.log_metrics(
            {
                "train/loss": nll,
                "train/perplexity": math.exp(min(nll, 700.0)),
                "train/top1": float((rank < 1).float().mean()),
                "train/top5": float((rank < 5).float().mean()),
                "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "train/gradient_norm": float(module.gradient_norm),
                "train/tokens_per_second": self._tokens_per_second,
            },
            step=trainer.global_step,
        )

    def shown(self, trainer: L.Trainer) -> dict[str, str]:
        """The figures of now, as a person reads them."""
        if self._smooth_loss is None:
            return {}
        figures = {
            "loss": f"{self._smooth_loss:.3f}",
            "perplexity": f"{math.exp(min(self._smooth_loss, 700.0)):.1f}",
            "tokens/s": f"{self._tokens_per_second:,.0f}",
        }
        fraction = self.clock.fraction(trainer.global_step, trainer.estimated_stepping_batches)
        if fraction > 0.0:
            left = round(self.clock.elapsed() * (1.0 / fraction - 1.0))
            figures["left"] = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        return figures

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        score = pl_module.valid_score
        assert score is not None
        if not math.isfinite(score.loss):
            raise TrainingError(f"the valid loss became {score.loss} at step {trainer.global_step}; lower optimizer.lr")
        entry = {
            "epoch": round(self.tokens / self.epoch_tokens, 3),
            "step": trainer.global_step,
            "minutes": round(self.clock.elapsed() / 60.0, 2),
            "tokens": self.tokens,
            **{
                name: value for name, value in score.to_dict().items() if name in ("loss", "perplexity", "top1", "top5")
            },
        }
        self.history.append(entry)
        log.info(
            "validation after %.2f epochs, %.1f min: loss %.4f  perplexity %.2f  top-1 %.2f %%  top-5 %.2f %%",
            *(entry[name] for name in ("epoch", "minutes", "loss", "perplexity")),
            100.0 * score.top1,
            100.0 * score.top5,
        )
        # what follows must not count the validation as training
        self._batch_end = self._window_start = time.monotonic()
        self._window_tokens = 0

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "tokens": self.tokens, "first_loss": self.first_loss}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_plain(state_dict["history"], "history")
        self.history = list(state_dict["history"])
        self.tokens = int(state_dict["tokens"])
        self.first_loss = state_dict["first_loss"]


class ProgressBar(RichProgressBar):
    """Epoch, loss, perplexity, tokens a second and the time that is left of the whole run.

    Args:
        curves: Where the figures come from.
    """

    def __init__(self, curves: TrainingMetrics) -> None:
        super().__init__(refresh_rate=4)
        self.curves = curves

    @override
    def configure_columns(self, trainer: L.Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(bar_width=20),
            BatchesProcessedColumn(style=self.theme.batch_progress),
        ]

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        description = super()._get_train_description(current_epoch)
        return description if self.trainer.max_epochs != NO_EPOCH_LIMIT else description.partition("/")[0]

    @override
    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return dict(self.curves.shown(trainer))
