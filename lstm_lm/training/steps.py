"""Optimizer steps, which take several windows with ``trainer.accumulate_grad_batches``."""

import math

import lightning as L


def completed_step(trainer: L.Trainer) -> bool:
    """Whether the window that just ended completed an optimizer step.

    Between two windows of a step, a checkpoint would lose the gradient of the first one.
    """
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def steps_per_epoch(trainer: L.Trainer) -> int:
    """Optimizer steps per epoch; the last one may take fewer windows."""
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def validate_after_steps(trainer: L.Trainer) -> None:
    """Move the validations in the middle of an epoch to the end of a step."""
    windows, accumulated = trainer.val_check_batch, trainer.accumulate_grad_batches
    if windows is not None and accumulated > 1 and windows < trainer.num_training_batches:
        trainer.val_check_batch = max(int(windows) // accumulated, 1) * accumulated
