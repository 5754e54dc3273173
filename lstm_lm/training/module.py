"""The LightningModule that trains and validates a language model."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from lstm_lm.checkpoint import METADATA, CheckpointMetadata
from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.score import Score, ScoreMetric
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.objective import GraphedObjective, window_objective
from lstm_lm.training.optimizers import build_optimizer
from lstm_lm.training.schedules import build_schedule


class LanguageModelModule(L.LightningModule):
    """Trains a network by truncated backpropagation through time; the state is carried from window to window.

    Args:
        model: The network.
        loss: Softmax and activation regularization.
        optimizer: ``_target_`` of the optimizer, and its arguments.
        schedule: The same for the learning-rate schedule.
        vocabulary: Vocabulary of the corpus.
        bptt_length: Nominal window length; the loss of a longer or shorter window is scaled accordingly.
        seed: Seeds each step together with the step number, so that a resumed run draws the same random numbers.
        fraction: Maps optimizer steps to the completed fraction of the run; drives the schedule.
        checkpoint_metadata: What checkpoints record besides weights and training state.
        sparse_gradient: Use sparse gradients for the embedding and output rows (sampled softmax).
        cuda_graphs: On a GPU, run windows of ``bptt_length`` as CUDA graphs.

    Attributes:
        valid_score: Score of the last validation.
        valid_sums: Cumulative negative log likelihood and token count after each of its windows.
        valid_is_exact: Whether that validation scored all of valid.
        metrics: The scores that a checkpoint of the scored weights records, by split.
    """

    def __init__(
        self,
        model: LSTMLanguageModel,
        *,
        loss: LossConfig,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any],
        vocabulary: Vocabulary,
        bptt_length: int,
        seed: int,
        fraction: Callable[[int], float],
        checkpoint_metadata: CheckpointMetadata,
        sparse_gradient: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss_config = loss
        self.optimizer_config = optimizer
        self.schedule_config = schedule
        self.bptt_length = bptt_length
        self.seed = seed
        self.fraction = fraction
        self.checkpoint_metadata = checkpoint_metadata
        self.loss = SoftmaxLoss(loss, vocabulary.counts, sparse_gradient=sparse_gradient)
        self._objective = functools.partial(window_objective, self.model, self.loss, bptt_length)
        self._graphed = GraphedObjective(self.model, self.loss, bptt_length) if cuda_graphs else None
        self.valid_metric = ScoreMetric(vocabulary)
        self.valid_score: Score | None = None
        self.valid_sums: list[tuple[float, int]] = []
        self.valid_is_exact = False
        self._valid_sums: list[tuple[Tensor, Tensor]] = []
        self.metrics: dict[str, Any] = {}
        self._scored_step = -1
        self.gradient_norm = torch.tensor(torch.nan)
        self._state: LSTMState | None = None
        self._valid_state: LSTMState | None = None

    @override
    def on_train_start(self) -> None:
        if self._state is not None:  # restored from a checkpoint, on the CPU
            self._state = self._state.to(self.device)

    @override
    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.optimizer_config, self.model)
        schedule = build_schedule(self.schedule_config, optimizer, lambda: self.fraction(self.global_step))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @override
    def on_train_batch_start(self, batch: Window, batch_idx: int) -> None:
        # with accumulation, each window of a step draws its own numbers
        accumulated = 1 if self._trainer is None else self._trainer.accumulate_grad_batches
        torch.manual_seed((self.seed << 32) + self.global_step * accumulated + batch_idx % accumulated)

    @override
    def training_step(self, batch: Window, batch_idx: int) -> dict[str, Tensor]:
        state = self._state
        if batch.starts_stream or state is None:
            state = self.model.initial_state(batch.input_ids.shape[0])
        step = self._objective if self._graphed is None else self._graphed.step(batch)
        objective, nll, dropped, *tensors = step(batch.input_ids, batch.target_ids, *state.detach().tensors())
        self._state = LSTMState.from_tensors(tensors, len(self.model.layers))
        if nll.device.type == "cpu":  # on a GPU, TrainingMetrics checks the losses of several steps at once
            self.check_finite(nll.item(), self.global_step)
        return {"loss": objective, "nll": nll, "features": dropped}

    def check_finite(self, nll: float, step: int) -> None:
        """Raise an error if a loss is not finite.

        Args:
            nll: Loss of a step.
            step: Number of the step.

        Raises:
            TrainingError: If ``nll`` is infinite or NaN.
        """
        if not math.isfinite(nll):
            raise TrainingError(
                f"the loss became {nll} at step {step}; lower optimizer.lr (got {self.optimizer_config.get('lr')}) or "
                "trainer.gradient_clip_val"
            )

    @override
    def on_validation_epoch_start(self) -> None:
        self.valid_metric.reset()
        self._valid_state = None
        self._valid_sums = []

    @override
    def validation_step(self, batch: Window, batch_idx: int) -> None:
        state = self._valid_state
        if batch.starts_stream or state is None:
            state = self.model.initial_state(batch.input_ids.shape[0])
        with torch.autocast(self.device.type, enabled=False):  # every evaluation runs in float32
            features, self._valid_state = self.model.features(batch.input_ids, state)
            self.valid_metric.update_window(self.model, features, batch)
        self._valid_sums.append((self.valid_metric.nll.clone(), self.valid_metric.counts[0, 0].clone()))

    @override
    def on_validation_epoch_end(self) -> None:
        score = self.valid_score = self.valid_metric.score()
        nlls, tokens = (torch.stack(sums).tolist() for sums in zip(*self._valid_sums, strict=True))
        self.valid_sums = list(zip(nlls, tokens, strict=True))
        windows = self.trainer.val_dataloaders
        self.valid_is_exact = windows is not None and len(self.valid_sums) == len(windows)
        self.metrics = {"valid": score.to_dict() | {"exact": self.valid_is_exact}}
        self._scored_step = self.global_step
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(score.loss)
        self.log_dict(
            {
                "valid/loss": score.loss,
                "valid/perplexity": score.perplexity,
                "valid/top1": score.top1,
                "valid/top5": score.top5,
                "valid/words_top1": score.words.top1,
                "step": float(self.global_step),  # Lightning's own count is one behind here
            }
        )

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        # on_validation_epoch_end steps a plateau schedule, before the checkpoint is written: Lightning would step it
        # afterwards, at the end of the epoch, and a run resumed from that checkpoint would miss the step
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = self._state
        checkpoint[METADATA] = {
            **self.checkpoint_metadata.to_plain(),
            # if the weights changed since validation, the score no longer applies
            "metrics": self.metrics if self._scored_step == self.global_step else {},
            "epoch": self.current_epoch,
            "step": self.global_step,
            "state": None if state is None else state.by_name(self.model.cell.state_names),
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        record = checkpoint[METADATA]
        state = record["state"]
        self._state = None if state is None else LSTMState.from_names(state, self.model.cell.state_names)
        self.metrics, self._scored_step = record["metrics"], record["step"]

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # overridden because Lightning rejects fused optimizers in mixed precision (for a loss scale that bfloat16 does
        # not have), because torch has no norm of a sparse gradient, and to log the norm
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()  # sums duplicate rows
            gradients.append(gradient.values() if gradient.is_sparse else gradient)
        self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        if gradient_clip_algorithm == "value" and gradient_clip_val is not None:
            for gradient in gradients:
                gradient.clamp_(-gradient_clip_val, gradient_clip_val)
            return
        limit = torch.inf if gradient_clip_val is None else gradient_clip_val
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, self.gradient_norm)
