"""Studies: open one in its storage, run trials until it has enough, repeat the trials of killed workers."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from lstm_lm.errors import LstmLmError, TrainingError, TrainingInterruptedError
from lstm_lm.search.config import SearchConfig
from lstm_lm.search.space import SearchSpace

SEED_VALUES = "seed_values"
"""User attribute of a trial: the value of each seed."""
REASON = "reason"
"""User attribute of a trial that failed: its error."""

# the warning is about names that may change: the version is pinned
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
_repeat = RetryHeartbeatStaleTrialCallback(max_retry=3, inherit_intermediate_values=False)


def open_study(config: SearchConfig, space: SearchSpace, folder: Path) -> optuna.Study:
    """Open a study, or create it.

    Args:
        config: The search.
        space: What it varies.
        folder: The study's folder, for the default storage.

    Raises:
        TrainingError: If the storage cannot be opened.
    """
    if config.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
    with _storage_errors(url := config.storage_url(folder)):
        storage = RDBStorage(url, heartbeat_interval=config.heartbeat, heartbeat_stale_trial_callback=_repeat)
        return optuna.create_study(
            storage=storage,
            study_name=config.study,
            direction="minimize",
            load_if_exists=True,
            sampler=_sampler(config, space),
            pruner=_pruner(config),
        )


def open_existing_study(config: SearchConfig, folder: Path) -> optuna.Study:
    """Open a study to report on it.

    Raises:
        TrainingError: If the storage cannot be opened, or has no such study.
    """
    with _storage_errors(url := config.storage_url(folder)):
        address = make_url(url)
        if not address.drivername.startswith("sqlite") or Path(address.database or "").is_file():  # else it is created
            with suppress(KeyError):
                return optuna.load_study(study_name=config.study, storage=url)
    raise TrainingError(f"{_shown(url)}: has no study {config.study}; give the --study and --storage of lstm-lm tune")


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ImportError) as error:
        raise TrainingError(f"--storage: cannot open {_shown(url)} ({str(error).splitlines()[0]})") from error


def _shown(url: str) -> str:
    """A storage without its password."""
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", url)


def run_trials(study: optuna.Study, config: SearchConfig, objective: Callable[[Trial], float]) -> None:
    """Run trials until the study has enough, whichever worker ran them.

    A trial that fails, as with a loss that is not finite, counts: the study continues without its value.

    Args:
        study: The study.
        config: The search.
        objective: Returns the value of a trial, or raises ``optuna.TrialPruned`` or an ``LstmLmError``.

    Raises:
        TrainingInterruptedError: If a signal stopped the trial; it is queued again.
    """

    def attempt(trial: Trial) -> float:
        try:
            return objective(trial)
        except TrainingInterruptedError:
            raise
        except LstmLmError as error:
            trial.set_user_attr(REASON, str(error))
            raise _FailedTrialError from error

    def stop_if_enough(study: optuna.Study, _trial: FrozenTrial) -> None:
        if num_finished(study) >= config.trials:
            study.stop()

    if num_finished(study) >= config.trials:
        return
    try:
        study.optimize(attempt, callbacks=[stop_if_enough], catch=(_FailedTrialError,))
    except TrainingInterruptedError:
        _repeat(study, study.get_trials(deepcopy=False, states=(TrialState.FAIL,))[-1])
        raise


def num_finished(study: optuna.Study) -> int:
    """Number of trials that completed, were pruned, or failed by themselves."""
    return sum(
        trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or REASON in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


class _FailedTrialError(Exception):
    pass


def first_attempt(trial: Trial | FrozenTrial) -> int:
    """The number of the trial that this one repeats, or its own: both use one run folder."""
    frozen = trial if isinstance(trial, FrozenTrial) else trial.study.get_trials(deepcopy=False)[trial.number]
    original = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
    return frozen.number if original is None else original


def quiet_optuna() -> None:
    """Show warnings only: the command prints the trials itself."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _sampler(config: SearchConfig, space: SearchSpace) -> BaseSampler:
    if config.sampler == "grid":
        return GridSampler({key: list(values) for key, values in space.grid().items()})
    # several workers must not draw the same numbers, so no seed
    return RandomSampler() if config.sampler == "random" else TPESampler(multivariate=True)


def _pruner(config: SearchConfig) -> optuna.pruners.BasePruner:
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=config.startup_trials)
    return optuna.pruners.NopPruner()
