"""Steps of Lightning's loops: optimizer steps, which may take several windows, and where a run resumes."""

import math
from typing import Any

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


def nearly_ended(trainer: L.Trainer) -> bool:
    """Whether the run ends within half of the interval between two validations."""
    windows = trainer.val_check_batch
    if windows is None:  # validations by time
        return False
    steps_left = trainer.estimated_stepping_batches - trainer.global_step
    return steps_left <= windows / trainer.accumulate_grad_batches / 2


def complete_batch(fit_loop: dict[str, Any]) -> bool:
    """Turn the counters of a checkpoint that was saved in ``on_train_batch_end`` into those a moment later.

    Lightning counts a batch as completed only after that hook, and resumes from such a checkpoint in ways of its own:
    at the last batch of an epoch, it leaves out the hooks of the epoch's end, and counts an epoch too many in the
    checkpoints that follow.

    Args:
        fit_loop: State of ``trainer.fit_loop`` in a checkpoint; changed in place.

    Returns:
        Whether the checkpoint was saved in that hook.
    """
    progress = fit_loop["epoch_loop.batch_progress"]
    in_step = bool(progress["total"]["completed"] < progress["total"]["processed"])
    for part in ("total", "current"):
        progress[part]["completed"] = progress[part]["processed"]
    return in_step
