"""The averaged weights of a run: validated, saved and exported in place of the last step's."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from typing_extensions import override

from lstm_lm.training.averaging import AveragingConfig, brings_nothing_new, newest_weight
from lstm_lm.training.module import LanguageModelModule


class AveragedWeights(WeightAveraging):
    """Averages as its spec says; until that begins the weights are their own average.

    A checkpoint holds the average as the model and, beside it, the weights that learning goes on from.

    Args:
        config: An averaging other than ``none``.
    """

    def __init__(self, config: AveragingConfig) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.config = config
        self._fraction = 0.0
        self._losses: list[float] = []
        self._triggered = False

    def _average(self, averages: list[Tensor], weights: list[Tensor], num_averaged: Any) -> None:
        torch._foreach_lerp_(averages, weights, newest_weight(int(num_averaged), self.config))

    @property
    def _averaging(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    @property
    def _begun(self) -> bool:
        if self.config.name == "polyak":
            return self._fraction >= self.config.from_fraction
        return self.config.name == "ema" or self._triggered

    @override
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and (step_idx + 1) % self.config.every_steps == 0 and self._begun

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._fraction = pl_module.fraction(trainer.global_step)
        if self._averaging and not self._begun:
            # a run that was made longer when it was resumed: its tail is another one now
            assert self._average_model is not None
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    # Lightning's callback swaps its copy in at any time; before the first update that copy is the untrained network
    @override
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._averaging:
            super().on_validation_epoch_start(trainer, pl_module)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._averaging:
            super().on_validation_epoch_end(trainer, pl_module)

    @override
    def on_validation_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        assert pl_module.valid_score is not None
        self._losses.append(pl_module.valid_score.loss)
        self._triggered = self._triggered or brings_nothing_new(self._losses, self.config.patience)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._averaging:
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
        if self._averaging:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
