"""Lightning's trainer, set up for a run."""

import logging
import warnings
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger

from lstm_lm.config.schema import TrainConfig
from lstm_lm.errors import TrainingError
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.callbacks.averaging import AveragedWeights
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint, GracefulInterrupt
from lstm_lm.training.callbacks.planning import EpochPlanner
from lstm_lm.training.callbacks.tensorboard import EmbeddingProjector, TextSamples
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import ProgressBar, TrainingMetrics
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO


def build_trainer(
    config: TrainConfig,
    run_dir: Path,
    precision: str,
    vocabulary: Vocabulary,
    clock: TimeBudget,
    curves: TrainingMetrics,
    planner: EpochPlanner,
    checkpoints: BestAndLastCheckpoint,
) -> L.Trainer:
    """Lightning's trainer with our callbacks, in the order in which they must be asked.

    Args:
        config: A validated config.
        run_dir: Where checkpoints and event files go.
        precision: ``fp32`` or ``bf16``.
        vocabulary: For samples and projector.
        clock: Ends the run in time.
        curves: Measures it.
        planner: Says how many epochs it will have.
        checkpoints: Keeps it.

    Raises:
        TrainingError: If this machine has not the devices that ``config`` asks for.
    """
    _quiet_lightning()
    trainer_config = config.trainer
    callbacks: list[Callback] = [clock, curves, planner]
    if config.callbacks.sample_words and config.presets:
        prompt, num_words = config.callbacks.sample_prompt, config.callbacks.sample_words
        callbacks.append(TextSamples(vocabulary, config.presets, prompt, num_words, config.seed))
    if config.callbacks.progress_bar:
        callbacks.append(ProgressBar(curves))
    if config.averaging.name != "none":
        callbacks.append(AveragedWeights(config.averaging))
    if config.callbacks.projector_words:  # after the average has become the network
        callbacks.append(EmbeddingProjector(vocabulary, config.callbacks.projector_words))
    if config.callbacks.early_stopping_patience:
        # at the end of a validation, so that the checkpoint written there knows how long there was no better loss
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
            log_every_n_steps=1,  # Curves decides
            logger=logger if config.logger.tensorboard else False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=config.callbacks.progress_bar,
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
        raise TrainingError(
            "trainer.accelerator: a Mac's GPU has no float64, which scores are summed in; set trainer=cpu"
        )
    return trainer


def _quiet_lightning() -> None:
    # its hints on hardware and products say nothing about this run, which has its own log
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=DeprecationWarning)
