"""Running a command through Hydra: mistakes first, then a run folder, then the work."""

import argparse
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lstm_lm.cli.sweep import STATUS_FILE, finish_sweep
from lstm_lm.config.compose import CONFIG_PACKAGE, VERSION_BASE, register_schemas, to_dataclass
from lstm_lm.config.overrides import COMPOSE_ERRORS, as_override, one_line
from lstm_lm.config.schema import Config
from lstm_lm.config.validation import Checked, check
from lstm_lm.errors import ConfigError, LstmLmError, TrainingInterruptedError
from lstm_lm.text.files import write_json

log = logging.getLogger(__name__)

_REFUSED = {
    "config_name": "--config-name",
    "config_path": "--config-path",
    "experimental_rerun": "--experimental-rerun",
}

Job = Callable[[Any, Path], None]


def parse_arguments(command: str, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split a command line into Hydra's flags and the overrides, wherever they stand.

    Returns:
        What Hydra's own parser makes of it, and the flags alone.

    Raises:
        ConfigError: For a flag of Hydra that makes no sense here.
    """
    parser = get_args_parser()
    parser.prog = f"lstm-lm {command}"
    parser.usage = "%(prog)s [GROUP=OPTION ...] [KEY=VALUE ...] [-m] [--cfg job]"
    arguments = parser.parse_intermixed_args(list(argv))
    for name, flag in _REFUSED.items():
        if getattr(arguments, name) is not None:
            raise ConfigError([f"{flag}: is not for this command; add configs of your own with --config-dir FOLDER"])
    overrides = set(arguments.overrides)
    return arguments, [word for word in argv if word not in overrides]


def run(command: str, argv: Sequence[str], job: Job) -> None:
    """Check a command line and run its job, or all jobs of its sweep.

    Args:
        command: The name of a file in ``configs``.
        argv: The arguments after the command.
        job: Takes the config and the run folder. A function of a module, so that a launcher can send it elsewhere.

    Raises:
        ConfigError: Before anything is written, with every mistake.
        LstmLmError: What the job raises; for a sweep, that some jobs failed.
    """
    arguments, flags = parse_arguments(command, argv)
    shows = arguments.cfg or arguments.info or arguments.hydra_help or arguments.shell_completion
    if shows:
        try:
            _hydra_main(command, job, [*flags, *arguments.overrides])
        except ConfigError:
            # Hydra's first complaint stopped it: give all of ours, if we know better
            check(command, arguments.overrides, arguments.multirun, arguments.config_dir)
            raise
        return
    checked = check(command, arguments.overrides, arguments.multirun, arguments.config_dir)
    if not checked.multirun:
        _hydra_main(command, job, [*flags, *arguments.overrides])
        return
    _sweep(command, job, [*flags, *arguments.overrides], checked)


def _sweep(command: str, job: Job, argv: list[str], checked: Checked) -> None:
    folder = Path(checked.sweep_dir).absolute()
    began = time.time()
    failed = 0
    try:
        _hydra_main(command, job, [*argv, as_override("hydra.sweep.dir", str(folder))])
    finally:
        failed = finish_sweep(folder, began, len(checked.jobs))
    if failed:
        raise LstmLmError(f"{failed} of {len(checked.jobs)} jobs did not end well; the table gives the reasons")


def _hydra_main(command: str, job: Job, argv: Sequence[str]) -> None:
    """Hydra's main function with our arguments and without its error reports."""
    own = sys.argv
    register_schemas()
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # where a line of the log cannot be written, the error itself is told
    raised: list[Exception] = []

    @functools.wraps(job)
    def task(config: DictConfig) -> None:
        # Lightning starts further processes with the command line as the user typed it
        sys.argv = own
        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        if settings.mode == RunMode.MULTIRUN:
            _run_sweep_job(to_dataclass(config), folder, list(settings.overrides.task), job)
            return
        try:
            job(to_dataclass(config), folder)
        except Exception as error:
            # INFO reaches the log in the run folder alone; the command prints the error itself
            log.info("failed: %s", error, exc_info=True)
            raised.append(error)

    sys.argv = [own[0], *argv]
    try:
        hydra.main(config_path=f"pkg://{CONFIG_PACKAGE}", config_name=command, version_base=VERSION_BASE)(task)()
    except COMPOSE_ERRORS as error:
        raise ConfigError([one_line(error)]) from error
    finally:
        sys.argv = own
    if raised:
        raise raised[0]


def _run_sweep_job(config: Config, folder: Path, overrides: list[str], job: Job) -> None:
    """Run one job of a sweep and note how it ended, instead of ending the sweep."""

    def note(status: str, reason: str = "") -> None:
        content = {"status": status, "reason": reason, "overrides": overrides}
        write_json(folder / STATUS_FILE, content)

    note("running")
    try:
        job(config, folder)
        note("done")
    except TrainingInterruptedError as error:
        note("interrupted", str(error))
        # no mere exception: the launcher would go on with the next job
        raise SystemExit(128 + error.signal_number) from error
    except LstmLmError as error:
        log.info("failed: %s", error, exc_info=True)
        note("failed", str(error))
    except Exception as error:
        log.info("failed", exc_info=True)
        note("failed", f"{type(error).__name__}: {error}")
    except BaseException as error:
        note("interrupted", type(error).__name__)
        raise
