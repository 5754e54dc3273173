"""Metrics of a run, measured once for the loggers, the log and the progress bar."""

import logging
import math
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor
from typing_extensions import override

from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.score import target_rank
from lstm_lm.serialization import check_plain
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.steps import completed_step

log = logging.getLogger(__name__)

_SMOOTHING = 0.98  # of the displayed loss
_SECONDS_BETWEEN_LINES = 60.0
_TOP_K_TOKENS = 256  # tokens of a window for train top-1 and top-5: exact over the vocabulary, yet cheap


class TrainingMetrics(L.Callback):
    """Loss, perplexity, top-1, top-5, learning rate, gradient norm and tokens per second.

    Args:
        time_budget: Progress of the run.
        epoch_tokens: Tokens per pass over train.

    Attributes:
        history: One entry per validation: epoch, step, minutes, tokens, the score, and the perplexity of the training
            steps since the one before, with dropout.
        tokens: Tokens trained on.
        measured_tokens: Tokens since the start or resume.
        training_seconds: Seconds since the start or resume, without validations.
        first_loss: Loss of the first window, nats per token.
        last_loss: Loss of the latest window.
    """

    def __init__(self, time_budget: TimeBudget, epoch_tokens: int) -> None:
        self.time_budget = time_budget
        self.epoch_tokens = epoch_tokens
        self.history: list[dict[str, Any]] = []
        self.tokens = 0
        self.measured_tokens = 0
        self.training_seconds = 0.0
        self.first_loss: float | None = None
        self.last_loss = math.nan
        self._smooth_loss: float | None = None
        self._loss_sum, self._loss_count = 0.0, 0  # since the last validation
        self._pending_losses: list[tuple[int, Tensor]] = []  # steps and their losses, on the training device
        self._pending_tokens = 0
        self._interval_start = 0.0
        self._interval_tokens = 0
        self._tokens_per_second = 0.0
        self._measured_until = 0.0
        self._last_line = time.monotonic()

    @property
    def epochs(self) -> float:
        """Epochs done, with those before a resume."""
        return self.tokens / self.epoch_tokens

    @property
    def mean_tokens_per_second(self) -> float:
        """Training tokens per second since the start or resume, without validations."""
        return self.measured_tokens / self.training_seconds if self.training_seconds else 0.0

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.measured_tokens = 0
        self._measured_until = self._interval_start = time.monotonic()

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Window, batch_idx: int
    ) -> None:
        tokens, nll = batch.target_ids.numel() * trainer.world_size, outputs["nll"]
        self.tokens += tokens
        self._pending_tokens += tokens
        self._pending_losses.append((trainer.global_step - 1, nll))
        # Lightning's own rule, so that what is logged here reaches the loggers
        should_log = completed_step(trainer) and trainer._logger_connector.should_update_logs
        if not should_log and (nll.device.type != "cpu" or trainer.world_size > 1):
            return  # reading a loss waits for the GPU or for other processes
        self._collect_losses(pl_module)
        now = self._measure()
        if not should_log:
            return
        self._tokens_per_second = self._interval_tokens / max(now - self._interval_start, 1e-9)
        self._interval_start, self._interval_tokens = now, 0
        self._log_point(trainer, pl_module, outputs, batch)
        if now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            figures = "  ".join(f"{name} {value}" for name, value in self.display_values(trainer).items())
            log.info("epoch %.2f  %s", self.epochs, figures)

    def _measure(self) -> float:
        """Add the pending tokens and their time, after the device has finished them; returns the current time."""
        now = time.monotonic()
        if self._pending_tokens:
            self.measured_tokens += self._pending_tokens
            self._interval_tokens += self._pending_tokens
            self.training_seconds += now - self._measured_until
            self._pending_tokens, self._measured_until = 0, now
        return now

    def _collect_losses(self, module: LanguageModelModule) -> None:
        """Read the pending losses from the device; those of several processes are averaged.

        Raises:
            TrainingError: If a loss is not finite.
        """
        if not self._pending_losses:
            return
        steps, losses = zip(*self._pending_losses, strict=True)
        self._pending_losses = []
        mean = module.trainer.strategy.reduce(torch.stack(losses), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for step, nll in zip(steps, mean.tolist(), strict=True):
            module.check_finite(nll, step)
            self.first_loss = nll if self.first_loss is None else self.first_loss
            self.last_loss = nll
            self._loss_sum, self._loss_count = self._loss_sum + nll, self._loss_count + 1
            smooth = nll if self._smooth_loss is None else self._smooth_loss
            self._smooth_loss = _SMOOTHING * smooth + (1.0 - _SMOOTHING) * nll

    def _log_point(self, trainer: L.Trainer, module: LanguageModelModule, outputs: Any, batch: Window) -> None:
        if not trainer.loggers:
            return
        # float32: no autocast applies here
        features, target_ids = outputs["features"].flatten(0, 1)[:_TOP_K_TOKENS].float(), batch.target_ids.flatten()
        with torch.no_grad():
            rank = target_rank(module.model.logits(features), target_ids[:_TOP_K_TOKENS])
        module.log_dict(
            {
                "train/loss": self.last_loss,
                "train/perplexity": math.exp(min(self.last_loss, 700.0)),
                "train/top1": float((rank < 1).float().mean()),
                "train/top5": float((rank < 5).float().mean()),
                "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "train/gradient_norm": float(module.gradient_norm),
                "train/tokens_per_second": self._tokens_per_second,
                "step": float(trainer.global_step),  # Lightning counts from 0
            },
            batch_size=1,
        )

    def display_values(self, trainer: L.Trainer) -> dict[str, str]:
        """Current figures, formatted for display."""
        if self._smooth_loss is None:
            return {}
        figures = {
            "loss": f"{self._smooth_loss:.3f}",
            "perplexity": f"{math.exp(min(self._smooth_loss, 700.0)):.1f}",
            "tokens/s": f"{self._tokens_per_second:,.0f}",
        }
        fraction = self.time_budget.fraction(trainer.global_step, trainer.estimated_stepping_batches)
        if fraction > 0.0:
            remaining = round(self.time_budget.elapsed() * (1.0 / fraction - 1.0))
            figures["remaining"] = f"{remaining // 3600}:{remaining // 60 % 60:02d}:{remaining % 60:02d}"
        return figures

    @override
    def on_validation_start(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        self._collect_losses(pl_module)
        self._measure()

    @override
    def on_save_checkpoint(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, checkpoint: dict[str, Any]
    ) -> None:
        self._collect_losses(pl_module)  # raises an error instead of saving weights after a loss that is not finite

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        self._collect_losses(pl_module)
        self._measure()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        result = pl_module.valid_score
        assert result is not None
        score = result.score
        if not math.isfinite(score.perplexity):
            raise TrainingError(
                f"the valid perplexity became {score.perplexity} at step {trainer.global_step} "
                f"(loss {score.loss:.6g}); lower optimizer.lr"
            )
        entry = {
            "epoch": round(self.epochs, 3),
            "step": trainer.global_step,
            "minutes": round(self.time_budget.elapsed() / 60.0, 2),
            "tokens": self.tokens,
            **{
                name: value for name, value in score.to_dict().items() if name in ("loss", "perplexity", "top1", "top5")
            },
            "exact": result.is_exact,
        }
        if self._loss_count:
            entry["train_perplexity"] = math.exp(min(self._loss_sum / self._loss_count, 700.0))
        self._loss_sum, self._loss_count = 0.0, 0
        self.history.append(entry)
        log.info(
            "validation after %.2f epochs, %.1f min: loss %.4f  perplexity %.2f  top-1 %.2f %%  top-5 %.2f %%",
            *(entry[name] for name in ("epoch", "minutes", "loss", "perplexity")),
            100.0 * score.top1,
            100.0 * score.top5,
        )
        if not result.is_exact:
            log.info("that validation scored %s tokens of valid, not all", f"{score.tokens:,}")
        # exclude the validation from the training time
        self._measured_until = self._interval_start = time.monotonic()
        self._interval_tokens = 0

    @override
    def state_dict(self) -> dict[str, Any]:
        loss_sum = self._loss_sum
        for _, nll in self._pending_losses:  # on a GPU; added one by one, as _collect_losses does
            loss_sum += float(nll)
        return {
            "history": self.history,
            "tokens": self.tokens,
            "first_loss": self.first_loss,
            "loss_sum": loss_sum,
            "loss_count": self._loss_count + len(self._pending_losses),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_plain(state_dict["history"], "history")
        self.history = list(state_dict["history"])
        self.tokens = int(state_dict["tokens"])
        self.first_loss = state_dict["first_loss"]
        self._loss_sum = float(state_dict.get("loss_sum", 0.0))
        self._loss_count = int(state_dict.get("loss_count", 0))
