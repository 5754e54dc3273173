"""Run a command through Hydra: check the command line, create the run folder, run the job."""

import argparse
import functools
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lstm_lm.cli.sweep import STATUS_FILE, find_job_files, read_perplexity, report_sweep
from lstm_lm.cli.sweep_plan import SweepPlan
from lstm_lm.cli.workers import in_worker, wait_for_workers, worker_stop
from lstm_lm.config.compose import CONFIG_PACKAGE, VERSION_BASE, register_schemas, to_dataclass
from lstm_lm.config.messages import COMPOSE_ERRORS, short_message
from lstm_lm.config.overrides import as_override
from lstm_lm.config.schema import Config
from lstm_lm.config.validation import CheckedCommand, check
from lstm_lm.errors import ConfigError, LstmLmError, TrainingInterruptedError
from lstm_lm.evaluation.config import EvalConfig
from lstm_lm.text.files import write_json
from lstm_lm.training.config import RESUME_AUTO, TrainConfig
from lstm_lm.training.ranks import is_rank_zero
from lstm_lm.training.run_folder import FinishedRunError, has_checkpoints, lock_folder
from lstm_lm.training.signals import exit_on_stop_signals

log = logging.getLogger(__name__)

_UNSUPPORTED_FLAGS = {
    "config_name": "--config-name",
    "config_path": "--config-path",
    "experimental_rerun": "--experimental-rerun",
}

_WRITES_NOTHING = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
    "hydra.job_logging.handlers.console.level=ERROR",
)

_WRITTEN_PATHS = ("out", "cache_dir")
_PATHS = ("checkpoint", "resume", "init_from", "dir", "file", "hub_path", *_WRITTEN_PATHS)

Job = Callable[[Any, Path], float | None]
"""Returns what a sweeper minimizes, as a perplexity."""
OpenFolder = Callable[[Any, Path], AbstractContextManager[None]]


def parse_arguments(command: str, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split a command line into flags and overrides, in any order.

    Returns:
        The result of Hydra's parser, and the flags without the overrides.

    Raises:
        ConfigError: For a flag of Hydra that this command does not support.
    """
    parser = get_args_parser()
    parser.prog = f"lstm-lm {command}"
    parser.usage = "%(prog)s [GROUP=OPTION ...] [KEY=VALUE ...] [-m] [--cfg job]"
    arguments = parser.parse_intermixed_args(list(argv))
    for name, flag in _UNSUPPORTED_FLAGS.items():
        if getattr(arguments, name) is not None:
            raise ConfigError([f"{flag}: not supported; add your own configs with --config-dir FOLDER"])
    overrides = set(arguments.overrides)
    return arguments, [argument for argument in argv if argument not in overrides]


def run(command: str, argv: Sequence[str], job: Job, open_folder: OpenFolder | None = None) -> None:
    """Check a command line and run its job, or all jobs of its sweep.

    Args:
        command: The name of a file in ``configs``.
        argv: The arguments after the command.
        job: Called with the config and the run folder. Must be a module-level function: launchers pickle it.
        open_folder: Locks the run folder while the job runs, before anything is written there; raises
            ``FinishedRunError`` if nothing is left to do. Must also be a module-level function. The default refuses
            the folder of a training run.

    Raises:
        ConfigError: With every mistake, before anything is written.
        LstmLmError: If the job fails; for a sweep, if any job fails.
    """
    arguments, flags = parse_arguments(command, argv)
    prints_only = arguments.cfg or arguments.info or arguments.hydra_help or arguments.shell_completion
    if prints_only:
        try:
            _hydra_main(command, job, [*flags, *arguments.overrides])
        except ConfigError:
            # Hydra stops at its first mistake; report all of them if our check finds some
            check(command, arguments.overrides, arguments.multirun, arguments.config_dir)
            raise
        return
    checked = check(command, arguments.overrides, arguments.multirun, arguments.config_dir)
    argv = [*flags, *checked.lines]
    open_folder = open_folder or _refuse_training_run
    if checked.multirun:
        with lock_folder(Path(checked.folders.sweep).absolute()):
            _sweep(command, job, argv, checked, open_folder)
        return
    folder = Path(checked.folders.run).absolute()
    argv.append(as_override("hydra.run.dir", str(folder)))
    try:
        with open_folder(checked.config, folder):
            if is_rank_zero():
                _hydra_main(command, job, argv)
            else:  # rank 0 writes the files of the run
                _hydra_main(command, lambda config, _: job(config, folder), [*argv, *_WRITES_NOTHING])
    except FinishedRunError as finished:
        print(finished)


@contextmanager
def _refuse_training_run(config: Config, folder: Path) -> Iterator[None]:  # noqa: ARG001
    if has_checkpoints(folder):
        raise LstmLmError(f"{folder}: is the folder of a training run; choose another hydra.run.dir")
    yield


def _sweep(command: str, job: Job, argv: list[str], checked: CheckedCommand, open_folder: OpenFolder) -> None:
    folder = Path(checked.folders.sweep)
    plan = SweepPlan(folder.absolute(), checked.folders.subdir, skip_done=command == "train")
    before = find_job_files(plan.folder)
    failed, interrupted = 0, True
    stop_signals: list[int] = []
    try:
        workers: AbstractContextManager[list[int]] = nullcontext(stop_signals)
        if checked.folders.uses_workers:
            workers = wait_for_workers()
        with plan.applied(), workers as stop_signals:
            _hydra_main(command, job, [*argv, as_override("hydra.sweep.dir", str(plan.folder))], open_folder)
        interrupted = bool(stop_signals)
    except Exception as error:
        interrupted = bool(stop_signals)
        if checked.num_jobs is None:  # the jobs were composed before, and their errors do not end a sweep
            cause = error.__cause__ if isinstance(error, ConfigError) and error.__cause__ else error
            log.info("the sweeper failed", exc_info=cause)
            raise LstmLmError(
                f"the sweeper {checked.sweeper} failed after the jobs in {folder}: {type(cause).__name__}: {cause}"
            ) from error
        raise
    finally:
        failed = report_sweep(plan.folder, before, checked.num_jobs, plan.skipped, interrupted)
    if stop_signals:
        raise SystemExit(128 + stop_signals[0])
    if failed:
        raise LstmLmError(f"{failed} of {checked.num_jobs or 'the'} jobs failed; see the table for the reasons")


def _hydra_main(command: str, job: Job, argv: Sequence[str], open_folder: OpenFolder | None = None) -> None:
    """Run ``hydra.main`` with ``argv`` and without Hydra's error reports."""
    user_argv = sys.argv
    register_schemas()
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # on a full disk, report the error of the job, not that of the log
    errors: list[Exception] = []

    @functools.wraps(job)
    def task(config: DictConfig) -> float | None:
        # Lightning starts other ranks with this command line; called from Python, argv has no program
        program = user_argv[0] if Path(user_argv[0]).is_file() else str(Path(sys.executable).with_name("lstm-lm"))
        sys.argv = [program, command, *argv]
        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        job_config = to_dataclass(config)
        if settings.job.chdir:
            _anchor_paths(job_config, Path(settings.runtime.cwd))
        if settings.mode == RunMode.MULTIRUN:
            with exit_on_stop_signals():
                return _run_sweep_job(job_config, folder, list(settings.overrides.task), job, open_folder)
        try:
            with exit_on_stop_signals():
                return job(job_config, folder)
        except Exception as error:
            # INFO is written to the log in the run folder only; the command prints the error
            log.info("failed: %s", error, exc_info=True)
            errors.append(error)
        return None

    sys.argv = [user_argv[0], *argv]
    try:
        hydra.main(config_path=f"pkg://{CONFIG_PACKAGE}", config_name=command, version_base=VERSION_BASE)(task)()
    except COMPOSE_ERRORS as error:
        raise ConfigError([short_message(error)]) from error
    finally:
        sys.argv = user_argv
    if errors:
        raise errors[0]


def _anchor_paths(config: Config, start: Path) -> None:
    """Make relative paths absolute: they mean the folder where the command started, not the one of the job."""
    nodes: list[Any] = [config]
    if isinstance(config, TrainConfig | EvalConfig) and config.data is not None:
        nodes.append(config.data)
    for node in nodes:
        paths = {name: value for name, value in vars(node).items() if name in _PATHS and isinstance(value, str)}
        for name, value in paths.items():
            if not value.startswith("~") and (name in _WRITTEN_PATHS or (start / value).exists()):
                setattr(node, name, str(start / value))


def _run_sweep_job(
    config: Config, folder: Path, overrides: list[str], job: Job, open_folder: OpenFolder | None
) -> float:
    """Run one job of a sweep and write its status to its folder; an error does not end the sweep.

    Returns:
        What the job returns; infinity if it failed or returned nothing.
    """
    metric: float | None = None
    if isinstance(config, TrainConfig) and config.resume is None:
        config.resume = RESUME_AUTO  # the folder may hold an earlier attempt at this job

    def write_status(status: str, reason: str = "") -> None:
        content = {"status": status, "reason": reason, "overrides": overrides}
        write_json(folder / STATUS_FILE, content)

    if in_worker():
        worker_stop.install()
        if worker_stop.signal_number is not None:
            write_status("interrupted", "the sweep was stopped before this job")
            return math.inf
    write_status("running")
    worker_stop.in_job = True
    try:
        with nullcontext() if open_folder is None else open_folder(config, folder):
            metric = job(config, folder)
        write_status("done")
    except FinishedRunError:
        metric = read_perplexity(folder)
        write_status("done")
    except TrainingInterruptedError as error:
        worker_stop.in_job = False
        write_status("interrupted", str(error))
        if in_worker():
            worker_stop.signal_number = error.signal_number
            return math.inf
        if "SUBMITIT_EXECUTOR" in os.environ:  # its handler, which training has replaced, requeues the job
            signal.raise_signal(error.signal_number)
        # a launcher would continue with the next job after an Exception
        raise SystemExit(128 + error.signal_number) from error
    except LstmLmError as error:
        log.info("failed: %s", error, exc_info=True)
        write_status("failed", str(error))
    except Exception as error:
        log.info("failed", exc_info=True)
        write_status("failed", f"{type(error).__name__}: {error}")
    except BaseException as error:
        worker_stop.in_job = False
        if in_worker() and worker_stop.signal_number is not None:
            write_status("interrupted", f"stopped by {signal.Signals(worker_stop.signal_number).name}")
            return math.inf
        write_status("interrupted", type(error).__name__)
        raise
    finally:
        worker_stop.in_job = False
    return metric if metric is not None and math.isfinite(metric) else math.inf
