"""Weight averaging: the average is validated, saved and exported in place of the raw weights."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from typing_extensions import override

from lstm_lm.training.averaging import AveragingConfig, lerp_weight, nt_asgd_triggered
from lstm_lm.training.module import LanguageModelModule


class AveragedWeights(WeightAveraging):
    """Averages weights by the configured method; until averaging starts, the raw weights are used.

    A checkpoint holds the average as the model, and next to it the raw weights that training continues from.

    Args:
        config: An averaging other than ``none``.
    """

    def __init__(self, config: AveragingConfig) -> None:
        super().__init__(use_buffers=False)
        self.config = config
        self._fraction = 0.0
        self._losses: list[float] = []
        self._triggered = False

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # Lightning has not moved the network there yet
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:  # on the CPU, reading the count does not wait for the GPU
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    @torch.no_grad()
    def _update(self, module: L.LightningModule) -> None:
        """Add the current weights to the average; ``AveragedModel.update_parameters`` waits for the GPU."""
        assert self._average_model is not None
        count = self._average_model.n_averaged
        averages: list[Tensor] = list(self._average_model.module.parameters())
        weights: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averages, weights, lerp_weight(int(count), self.config))
        count += 1

    @property
    def _has_average(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    @property
    def _started(self) -> bool:
        if self.config.name == "polyak":
            return self._fraction >= self.config.from_fraction
        return self.config.name == "ema" or self._triggered

    @override
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and (step_idx + 1) % self.config.every_steps == 0 and self._started

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._fraction = pl_module.fraction(trainer.global_step)
        if self._has_average and not self._started:
            # resumed with a longer budget or more epochs: averaging starts later, so discard the old average
            assert self._average_model is not None
            self._average_model.n_averaged.zero_()
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._update(pl_module)
            self._latest_update_step = step

    # Lightning's callback always swaps in its copy; before the first update this copy is the untrained network
    @override
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_average:
            super().on_validation_epoch_start(trainer, pl_module)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_average:
            super().on_validation_epoch_end(trainer, pl_module)

    @override
    def on_validation_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        assert pl_module.valid_score is not None
        self._losses.append(pl_module.valid_score.score.loss)
        self._triggered = self._triggered or nt_asgd_triggered(self._losses, self.config.patience)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_average:
            super().on_train_end(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"losses": self._losses, "triggered": self._triggered}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "latest_update_step": int(state_dict["latest_update_step"])})
        self._losses, self._triggered = list(map(float, state_dict["losses"])), bool(state_dict["triggered"])

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._has_average:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
