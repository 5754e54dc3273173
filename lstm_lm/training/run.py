"""One training run, from a config to a run folder with checkpoints, event files and metrics."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lstm_lm.checkpoint import CHECKPOINTS, METRICS
from lstm_lm.data.encoding import EncodedCorpus, load_corpus
from lstm_lm.errors import ConfigError, TrainingError
from lstm_lm.inference.banned_words import validate_banned_words
from lstm_lm.report.versions import versions
from lstm_lm.text.files import write_json
from lstm_lm.training.callbacks.thread_selection import restored_threads
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO
from lstm_lm.training.config import RESUME_AUTO, TrainConfig
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.loggers import build_loggers, last_logged_step
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.optimizers import uses_sparse_gradients
from lstm_lm.training.overfit import check_overfit, fit_one_batch
from lstm_lm.training.processes import ProcessesStrategy
from lstm_lm.training.restoring import restoring
from lstm_lm.training.resume import check_resumable, find_resumed, log_changed_settings, run_record
from lstm_lm.training.run_folder import check_run_folder
from lstm_lm.training.run_metrics import run_metrics
from lstm_lm.training.step_timing import choose_way, chooses_threads
from lstm_lm.training.trainer import RunCallbacks, build_trainer

log = logging.getLogger(__name__)


@restored_threads()
def train(
    config: TrainConfig,
    run_dir: str | Path,
    corpus: EncodedCorpus | None = None,
    name: str | None = None,
    callbacks: Sequence[L.Callback] = (),
) -> dict[str, Any]:
    """Train a model and write its run folder.

    Args:
        config: A validated config.
        run_dir: Gets ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt``, ``metrics.json`` and the loggers' files.
        corpus: The corpus of ``config``; ``None`` loads it.
        name: Name of the run in the loggers; by default that of ``run_dir``.
        callbacks: Callbacks besides those of ``config``.

    Returns:
        The content of ``metrics.json``: the valid score of the best checkpoint, epochs, steps, wall time, throughput
        and the history of all validations.

    Raises:
        ConfigError: If the cell cannot be imported, a preset bans a word that is not in the vocabulary, ``init_from``
            has other sizes, or a logger, a callback or the Trainer rejects its arguments.
        BundleError: If the bundle of ``init_from`` cannot be read.
        DataError: If the corpus cannot be read or is too short.
        CheckpointError: If ``config.resume`` cannot be read or does not fit, or a checkpoint cannot be written.
        TrainingError: If the folder holds another run, the loss is not finite, ``overfit_one_batch`` did not overfit,
            or this machine does not have the devices of ``config``.
        TrainingInterruptedError: If a signal stopped the run, after ``last.ckpt`` is written.
    """
    run_dir = Path(run_dir)
    if problems := config.model.cell_problems():  # imports a cell from outside: a worker of a sweep begins here
        raise ConfigError([f"model.{problem}" for problem in problems])
    check_run_folder(config, run_dir)
    resumed = find_resumed(config, run_dir)
    torch.manual_seed(config.seed)
    corpus = load_corpus(config.data) if corpus is None else corpus
    data = LanguageModelDataModule(corpus, config.batching, config.seed)
    vocabulary = corpus.vocabulary
    validate_banned_words(config.presets, vocabulary)
    run_callbacks = RunCallbacks.build(config, run_dir / CHECKPOINTS, len(corpus.splits["train"]))
    time_budget, checkpoints = run_callbacks.time_budget, run_callbacks.checkpoints
    time_budget.start()
    most_threads = torch.get_num_threads()
    saved_precision = None if resumed is None else resumed.metadata.run.get("precision", "fp32")
    precision, threads = choose_way(config, corpus, saved_precision)
    torch.set_num_threads(threads)
    loggers = build_loggers(
        config.logger, run_dir, name or run_dir.name, None if resumed is None else last_logged_step(resumed.content)
    )
    trainer = build_trainer(config, run_dir, precision, vocabulary, run_callbacks, loggers, callbacks)
    if chooses_threads(config.trainer, trainer.strategy.root_device):
        run_callbacks.thread_selection.start(most_threads, threads)
    sparse_gradient = uses_sparse_gradients(config.optimizer, trainer, config.model.tie_weights)
    settings = run_record(config, precision, corpus, trainer.world_size, sparse_gradient)
    module = LanguageModelModule.from_config(
        config if resumed is None else replace(config, embedding_init="random", init_from=None),
        corpus,
        fraction=lambda step: time_budget.fraction(step, trainer.estimated_stepping_batches),
        run={**settings, "versions": versions()},
    )
    if resumed is not None:
        module.metadata = replace(module.metadata, init_from=resumed.metadata.init_from)
    log.info(
        "%s words in the vocabulary, %s parameters, %s, run folder %s",
        f"{len(vocabulary):,}",
        f"{module.model.num_parameters:,}",
        precision,
        run_dir,
    )
    if config.trainer.overfit_one_batch:
        fit_one_batch(trainer, module, data)
    else:
        path = None if resumed is None else resumed.path
        if isinstance(trainer.strategy, ProcessesStrategy):
            trainer.strategy.settings = {
                "model": asdict(module.metadata.model),
                **settings,
                "resumed step": None if resumed is None else resumed.content.get("global_step"),
            }
        if resumed is not None:
            check_resumable(resumed, module.metadata)
            log_changed_settings(resumed, module.metadata)
            checkpoints.adopt_best(resumed, module.metadata)
            assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
            trainer.strategy.checkpoint_io.restored = resumed
            del resumed  # frees its memory once it is restored
        with restoring(None if path is None else str(path), trainer):
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        # resume=auto: the process may have been killed just before it wrote metrics.json
        did_nothing = not run_callbacks.training_metrics.mean_tokens_per_second and not checkpoints.validated
        if did_nothing and config.resume != RESUME_AUTO:
            raise TrainingError(
                f"{path}: the run is already finished after {trainer.global_step} steps; raise "
                "trainer.budget, trainer.max_epochs or trainer.max_steps to continue it"
            )
    metrics = run_metrics(config, trainer, module, run_callbacks)
    if trainer.is_global_zero:
        write_json(run_dir / METRICS, metrics)
    if config.trainer.overfit_one_batch:
        check_overfit(run_callbacks.training_metrics)
    return metrics
