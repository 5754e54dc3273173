"""What a run takes from the checkpoint that it resumes from must fit its network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import SGD, Adam
from typing_extensions import override

from lstm_lm.errors import CheckpointError


@contextmanager
def restoring(resume: str | None, trainer: L.Trainer) -> Iterator[None]:
    """Report a checkpoint whose parts do not fit this run as one error instead of a traceback of Lightning.

    Args:
        resume: The checkpoint, or ``None`` for a run that starts from the beginning.
        trainer: Fits within the block.

    Raises:
        CheckpointError: If restoring or the first step fails, or the optimizer's state does not have the shapes of the
            network.
    """
    if resume is None:
        yield
        return
    check = _OptimizerCheck(resume)
    trainer.callbacks.insert(0, check)  # type: ignore[attr-defined]
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if check.passed or isinstance(error, torch.OutOfMemoryError):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        raise CheckpointError(
            f"{resume}: the checkpoint cannot be resumed from ({reason}); use another checkpoint of the run"
        ) from error


class _OptimizerCheck(L.Callback):
    """Checks before the first step that the optimizer's state has the shapes of the network.

    Attributes:
        passed: Whether a step was taken: optimizer and scheduler use what they restored only there.
    """

    def __init__(self, resume: str) -> None:
        self._resume = resume
        self.passed = False

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        _check_counters(checkpoint["loops"])

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for optimizer in trainer.optimizers:
            if not isinstance(optimizer, Adam | SGD):
                continue  # its state may have other shapes; the kernels of these two read past the end of a short one
            for parameter, state in optimizer.state.items():
                # of a whole parameter, of its rows (row_adamw), or one number
                shapes = {tuple(parameter.shape), tuple(parameter.shape[:1]), (1,), ()}
                for name, value in state.items():
                    if isinstance(value, Tensor) and (tuple(value.shape) not in shapes or not value.is_contiguous()):
                        raise CheckpointError(
                            f"{self._resume}: the checkpoint cannot be resumed from (the optimizer's {name} has shape "
                            f"{tuple(value.shape)}, its weight {tuple(parameter.shape)}); use another checkpoint of "
                            "the run"
                        )

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self.passed = True


def _check_counters(loops: object) -> None:
    """Lightning takes its counters of steps and epochs as they are, and uses some only at the end of an epoch."""
    for name, value in loops.items() if isinstance(loops, dict) else ():
        if name in ("ready", "started", "processed", "completed") and type(value) is not int:
            raise ValueError(f"{name} must be an int, not {type(value).__name__}")
        _check_counters(value)
