"""Builds the Lightning Trainer of a run."""

import logging
import warnings
from pathlib import Path

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from lstm_lm.config.schema import TrainConfig
from lstm_lm.errors import TrainingError
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.callbacks.averaging import AveragedWeights
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint, GracefulInterrupt
from lstm_lm.training.callbacks.planning import EpochPlanner
from lstm_lm.training.callbacks.tensorboard import EmbeddingProjector, TextSamples
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import ProgressBar, ProgressLines, TrainingMetrics
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO


def build_trainer(
    config: TrainConfig,
    run_dir: Path,
    precision: str,
    vocabulary: Vocabulary,
    time_budget: TimeBudget,
    training_metrics: TrainingMetrics,
    epoch_planner: EpochPlanner,
    checkpoints: BestAndLastCheckpoint,
) -> L.Trainer:
    """Build Lightning's Trainer, with the callbacks in the order that they depend on.

    Args:
        config: A validated config.
        run_dir: Folder of checkpoints and event files.
        precision: ``fp32`` or ``bf16``.
        vocabulary: Vocabulary for the text samples and the projector.
        time_budget: Ends the run when its time is over.
        training_metrics: Measures and logs the run.
        epoch_planner: Plans the number of epochs.
        checkpoints: Writes the checkpoints.

    Raises:
        TrainingError: If this machine does not have the devices of ``config``.
    """
    _quiet_lightning()
    trainer_config = config.trainer
    callbacks: list[Callback] = [time_budget, training_metrics, epoch_planner]
    if config.callbacks.sample_words and config.presets:
        prompt, num_words = config.callbacks.sample_prompt, config.callbacks.sample_words
        callbacks.append(TextSamples(vocabulary, config.presets, prompt, num_words, config.seed))
    shows_bar = config.callbacks.progress_bar and Console().is_terminal
    if config.callbacks.progress_bar:
        callbacks.append(ProgressBar(training_metrics) if shows_bar else ProgressLines(training_metrics))
    if config.averaging.name != "none":
        callbacks.append(AveragedWeights(config.averaging))
    if config.callbacks.projector_words:  # after AveragedWeights has copied the average into the network
        callbacks.append(EmbeddingProjector(vocabulary, config.callbacks.projector_words))
    if config.callbacks.early_stopping_patience:
        # at the end of a validation, so that its checkpoint includes the patience counter
        patience = config.callbacks.early_stopping_patience
        callbacks.append(EarlyStopping("valid/loss", patience=patience, check_on_train_epoch_end=False))
    if not trainer_config.overfit_one_batch:
        callbacks += [checkpoints, GracefulInterrupt(checkpoints)]
    logger = TensorBoardLogger(run_dir, name="", version="tensorboard", default_hp_metric=False)
    try:
        trainer = L.Trainer(
            accelerator=trainer_config.accelerator,
            devices=trainer_config.devices,
            strategy=trainer_config.strategy,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=trainer_config.epoch_limit,
            max_steps=trainer_config.max_steps,
            gradient_clip_val=trainer_config.gradient_clip_val or None,
            val_check_interval=trainer_config.val_check_interval,
            limit_train_batches=trainer_config.limit_train_batches or 1.0,
            limit_val_batches=0 if trainer_config.overfit_one_batch else (trainer_config.limit_val_batches or 1.0),
            num_sanity_val_steps=0,
            log_every_n_steps=1,  # TrainingMetrics decides
            logger=logger if config.logger.tensorboard else False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *_cluster()],
            enable_progress_bar=shows_bar,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=run_dir,
        )
    except MisconfigurationException as error:
        raise TrainingError(
            f"trainer.accelerator={trainer_config.accelerator} with trainer.devices={trainer_config.devices}: this "
            f"machine does not have them ({error}); set trainer=cpu"
        ) from error
    if trainer.strategy.root_device.type == "mps":
        raise TrainingError("trainer.accelerator: Apple GPUs have no float64, which the scores need; set trainer=cpu")
    return trainer


def _cluster() -> list[SLURMEnvironment]:
    # GracefulInterrupt saves on a signal. Lightning's own handler would write another checkpoint, from which the next
    # run silently resumes
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quiet_lightning() -> None:
    # Lightning's tips about hardware and products are noise in the log of a run
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=DeprecationWarning)
