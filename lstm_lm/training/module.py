"""The network, seen by Lightning."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.score import Score, ScoreMetric
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.config import OptimizerConfig, ScheduleConfig
from lstm_lm.training.optimizers import build_optimizer
from lstm_lm.training.schedules import build_schedule


class LanguageModelModule(L.LightningModule):
    """Trains a network by truncated backpropagation through time, the state carried from window to window.

    Args:
        model: The network.
        loss: Softmax and activation regularisation.
        optimizer: The optimizer.
        schedule: The learning rate's schedule.
        vocabulary: The words of the corpus.
        bptt_length: Usual length of a window; a longer or shorter one weighs accordingly.
        seed: Every draw of a step follows from it and the step's number, so that a resumed run repeats them.
        fraction: From optimizer steps to the share of the run that is done; drives the schedule.
        record: What a checkpoint says about itself, beside weights and optimizer; plain data.
        sparse_gradient: Sampled softmax: give the optimizer a sparse gradient of the words' rows.
    """

    def __init__(
        self,
        model: LSTMLanguageModel,
        *,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        vocabulary: Vocabulary,
        bptt_length: int,
        seed: int,
        fraction: Callable[[int], float],
        record: dict[str, Any],
        sparse_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss_config = loss
        self.optimizer_config = optimizer
        self.schedule_config = schedule
        self.bptt_length = bptt_length
        self.seed = seed
        self.fraction = fraction
        self.record = record
        self.loss = SoftmaxLoss(loss, vocabulary.counts, sparse_gradient=sparse_gradient)
        self.valid_metric = ScoreMetric(vocabulary)
        self.valid_score: Score | None = None
        self._scored_step = -1
        self.gradient_norm = torch.tensor(torch.nan)
        self._state: LSTMState | None = None
        self._valid_state: LSTMState | None = None

    @override
    def on_train_start(self) -> None:
        if self._state is not None:  # of a checkpoint, which is read onto the CPU
            self._state = self._state.to(self.device)

    @override
    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.optimizer_config, self.model)
        schedule = build_schedule(self.schedule_config, optimizer, lambda: self.fraction(self.global_step))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @override
    def on_train_batch_start(self, batch: Window, batch_idx: int) -> None:
        torch.manual_seed((self.seed << 32) + self.global_step)

    @override
    def training_step(self, batch: Window, batch_idx: int) -> dict[str, Tensor]:
        state = self._state
        if batch.starts_stream or state is None:
            state = self.model.initial_state(batch.input_ids.shape[0])
        features, state = self.model.features(batch.input_ids, state.detach())
        self._state = state.detach()
        dropped = self.model.output_dropout(features)
        nll = self.loss(
            dropped.flatten(0, 1),
            self.model.output_weight,
            self.model.output_bias,
            batch.target_ids.flatten(),
            self.model.clusters,
        )
        if not bool(nll.isfinite()):
            raise TrainingError(
                f"the loss became {nll.item()} at step {self.global_step}; lower optimizer.lr "
                f"(got {self.optimizer_config.lr}) or trainer.gradient_clip_val"
            )
        objective = nll + self._activation_penalty(features, dropped)
        # the gradient is a mean over the window's tokens: a short window must not move the weights as far as a long
        # one (Merity et al. 2017 §4.1)
        objective = objective * (batch.target_ids.shape[1] / self.bptt_length)
        return {"loss": objective, "nll": nll.detach(), "features": dropped.detach()}

    def _activation_penalty(self, features: Tensor, dropped: Tensor) -> Tensor:
        """AR and TAR (Merity et al. 2017 §4.6): small activations, and small changes of them."""
        penalty = features.new_zeros(())
        if self.loss_config.activation_reg > 0.0:
            penalty = penalty + self.loss_config.activation_reg * dropped.square().mean()
        if self.loss_config.temporal_activation_reg > 0.0 and features.shape[1] > 1:
            change = features[:, 1:] - features[:, :-1]
            penalty = penalty + self.loss_config.temporal_activation_reg * change.square().mean()
        return penalty

    @override
    def on_validation_epoch_start(self) -> None:
        self.valid_metric.reset()
        self._valid_state = None

    @override
    def validation_step(self, batch: Window, batch_idx: int) -> None:
        state = self._valid_state
        if batch.starts_stream or state is None:
            state = self.model.initial_state(batch.input_ids.shape[0])
        with torch.autocast(self.device.type, enabled=False):  # as every evaluation, whatever the training's format
            features, self._valid_state = self.model.features(batch.input_ids, state)
            self.valid_metric.update_window(self.model, features, batch)

    @override
    def on_validation_epoch_end(self) -> None:
        score = self.valid_score = self.valid_metric.score()
        self.record["metrics"], self._scored_step = {"valid": score.to_dict()}, self.global_step
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
            }
        )

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        # a plateau is looked for after each validation, before the checkpoint is written: Lightning would do so after
        # it, at the end of the epoch, and a run resumed from that checkpoint would miss it
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = self._state
        checkpoint["lstm_lm"] = {
            **self.record,
            # a network that has learnt since has another score, which nobody knows
            "metrics": self.record["metrics"] if self._scored_step == self.global_step else {},
            "epoch": self.current_epoch,
            "step": self.global_step,
            "state": None if state is None else {"hidden": list(state.hidden), "cell": list(state.cell)},
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["lstm_lm"]["state"]
        self._state = None if state is None else LSTMState(tuple(state["hidden"]), tuple(state["cell"]))
        self.record["metrics"], self._scored_step = checkpoint["lstm_lm"]["metrics"], checkpoint["lstm_lm"]["step"]

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # ours, because Lightning refuses a fused optimizer in mixed precision for fear of a loss scale, which bfloat16
        # does not have; because torch takes no norm of a sparse gradient; and because the norm is worth a curve
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()  # rows that stand several times are added up
            gradients.append(gradient.values() if gradient.is_sparse else gradient)
        self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        limit = torch.inf if gradient_clip_val is None else gradient_clip_val
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, self.gradient_norm)
