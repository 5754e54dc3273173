"""Optimizers from their specs, and the averaging of weights."""

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim import SGD, Adam, AdamW, Optimizer
from typing_extensions import override

from lstm_lm.training.spec import OptimizerSpec


def build_optimizer(spec: OptimizerSpec, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
    """The optimizer of a spec.

    ``asgd`` is SGD; its average (Polyak & Juditsky 1992) is kept by ``TailAverage``, so that the averaged weights are
    what is validated, saved and exported.
    """
    if spec.name in ("adam", "adamw"):
        kind = Adam if spec.name == "adam" else AdamW
        beta1, beta2 = spec.betas
        return kind(parameters, lr=spec.lr, betas=(beta1, beta2), weight_decay=spec.weight_decay, fused=True)
    return SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)


class TailAverage(WeightAveraging):
    """Averages the weights from an epoch on; until then the weights are their own average.

    Args:
        from_epoch: First epoch (from 0) whose steps are averaged.
    """

    def __init__(self, from_epoch: int) -> None:
        super().__init__(use_buffers=False)
        self.from_epoch = from_epoch
        self._epoch = 0

    @property
    def _averaging(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    @override
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self._epoch >= self.from_epoch

    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._epoch = trainer.current_epoch
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    # Lightning's callback swaps its copy in at any time; before the first update that copy is the untrained network
    @override
    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self._averaging:
            super().on_validation_epoch_start(trainer, pl_module)

    @override
    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._averaging:
            super().on_validation_epoch_end(trainer, pl_module)

    @override
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._averaging:
            super().on_train_end(trainer, pl_module)

    @override
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._averaging:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
