"""Builds the Lightning Trainer of a run, with its loggers and callbacks."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger

from lstm_lm.errors import ConfigError, TrainingError
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.callbacks.averaging import AveragedWeights
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.callbacks.interrupt import GracefulInterrupt
from lstm_lm.training.callbacks.planning import EpochPlanner
from lstm_lm.training.callbacks.run_summary import RunSummary
from lstm_lm.training.callbacks.thread_selection import ThreadSelection
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.processes import ProcessesStrategy
from lstm_lm.training.targets import TARGET, build
from lstm_lm.training.trainer_arguments import build_arguments


@dataclass(frozen=True)
class RunCallbacks:
    """The callbacks that every run has, in the order that they depend on."""

    thread_selection: ThreadSelection
    time_budget: TimeBudget
    training_metrics: TrainingMetrics
    epoch_planner: EpochPlanner
    checkpoints: BestAndLastCheckpoint

    @classmethod
    def build(cls, config: TrainConfig, checkpoint_folder: Path, epoch_tokens: int) -> "RunCallbacks":
        """Build them, before the corpus and the network take their part of the time budget."""
        trainer = config.trainer
        time_budget = TimeBudget(trainer.budget_seconds, trainer.max_val_fraction)
        training_metrics = TrainingMetrics(time_budget, epoch_tokens)
        epoch_planner = EpochPlanner(trainer, config.model, time_budget, training_metrics)
        checkpoints = BestAndLastCheckpoint(checkpoint_folder)
        return cls(ThreadSelection(), time_budget, training_metrics, epoch_planner, checkpoints)

    def ordered(self, config: TrainConfig, added: list[Callback]) -> list[Callback]:
        """All callbacks of a run but the last one, ``GracefulInterrupt``.

        The thread selection comes first, to time a step without the work of the others; then the time budget, so that
        the work of all that follow counts as part of a validation. Added callbacks see
        the averaged weights at the end of a validation, and their state is part of the checkpoints, which come last.

        Args:
            config: Config of the run.
            added: The callbacks of the group ``callbacks``.
        """
        callbacks: list[Callback] = [
            self.thread_selection,
            self.time_budget,
            self.training_metrics,
            self.epoch_planner,
            *added,
        ]
        if config.averaging.name != "none":
            callbacks.append(AveragedWeights(config.averaging))
        callbacks.append(RunSummary(config, self.time_budget, self.training_metrics, self.checkpoints))
        if not config.trainer.overfit_one_batch:
            callbacks.append(self.checkpoints)
        return callbacks


def build_callbacks(config: Mapping[str, Any], **provided: Any) -> list[Callback]:
    """Build the callbacks of the group ``callbacks``, in the order of the config.

    Args:
        config: Callbacks by name, each with ``_target_`` and its arguments; ``None`` leaves one out.
        provided: ``schema.CALLBACK_ARGUMENTS``: passed to a callback that takes them.

    Raises:
        ConfigError: If a callback rejects its arguments, or is not a callback.
    """
    callbacks = []
    for name, node in config.items():
        if node is None:
            continue
        callback = build(node, f"callbacks.{name}", **provided)
        if not isinstance(callback, Callback):
            raise ConfigError([f"callbacks.{name}.{TARGET}: is not a callback of Lightning (got {node[TARGET]})"])
        callbacks.append(callback)
    return callbacks


def build_trainer(
    config: TrainConfig,
    run_dir: Path,
    precision: str,
    vocabulary: Vocabulary,
    run_callbacks: RunCallbacks,
    loggers: list[Logger],
    callbacks: Sequence[Callback] = (),
) -> L.Trainer:
    """Build Lightning's Trainer.

    Args:
        config: A validated config.
        run_dir: Folder of the run.
        precision: ``fp32`` or ``bf16``.
        vocabulary: For callbacks that take it.
        run_callbacks: The callbacks that every run has.
        loggers: The loggers.
        callbacks: Callbacks besides those of ``config``.

    Raises:
        ConfigError: If a callback, or an argument of the Trainer, is rejected.
        TrainingError: If this machine does not have the devices of ``config``.
    """
    _quiet_lightning()
    trainer_config = config.trainer
    added = build_callbacks(
        config.callbacks,
        vocabulary=vocabulary,
        presets=config.presets,
        seed=config.seed,
        training_metrics=run_callbacks.training_metrics,
        run_dir=run_dir,
    )
    keeps_checkpoints = not trainer_config.overfit_one_batch
    try:
        trainer = L.Trainer(
            accelerator=trainer_config.accelerator,
            devices=trainer_config.devices,
            num_nodes=trainer_config.num_nodes,
            strategy=ProcessesStrategy(trainer_config.threads, trainer_config.ddp_timeout)
            if trainer_config.uses_processes
            else trainer_config.strategy,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=trainer_config.epoch_limit,
            max_steps=trainer_config.max_steps,
            gradient_clip_val=trainer_config.gradient_clip_val or None,
            val_check_interval=trainer_config.val_check_interval,
            limit_train_batches=trainer_config.limit_train_batches or 1.0,
            limit_val_batches=(trainer_config.limit_val_batches or 1.0) if keeps_checkpoints else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=trainer_config.log_every_n_steps,
            logger=loggers or False,
            callbacks=run_callbacks.ordered(config, [*added, *callbacks]),
            plugins=[AtomicCheckpointIO(), *_cluster()],
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in added),
            enable_checkpointing=keeps_checkpoints,
            use_distributed_sampler=False,
            default_root_dir=run_dir,
            **{"enable_model_summary": False, **build_arguments(trainer_config.arguments)},
        )
    except MisconfigurationException as error:
        if trainer_config.accelerator == "cpu" and "device" not in str(error):
            raise ConfigError([f"trainer: {error}"]) from error
        raise TrainingError(
            f"trainer.accelerator={trainer_config.accelerator} with trainer.devices={trainer_config.devices}: this "
            f"machine does not have them ({error}); set trainer=cpu"
        ) from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError([f"trainer: Lightning rejects these settings ({error})"]) from error
    if trainer.strategy.root_device.type == "mps":
        raise TrainingError("trainer.accelerator: Apple GPUs have no float64, which the scores need; set trainer=cpu")
    if keeps_checkpoints:
        # Lightning moves checkpoints to the end of its list; this one acts after they are written
        trainer.callbacks.append(GracefulInterrupt(run_callbacks.checkpoints))  # type: ignore[attr-defined]
    return trainer


def _cluster() -> list[SLURMEnvironment]:
    # GracefulInterrupt saves on a signal. Lightning's own handler would write another checkpoint, from which the next
    # run silently resumes
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quiet_lightning() -> None:
    # Lightning's tips about hardware and products are noise; the report of a profiler is not
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # every process scores everything
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # the new name of this argument is newer than the oldest torch that pyproject.toml allows
    warnings.filterwarnings("ignore", message=".*forward_sync_buffers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=DeprecationWarning)
