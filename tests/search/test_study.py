"""Studies: pruning, failures, interrupts, killed workers, several workers on PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState

from lstm_lm.errors import TrainingError, TrainingInterruptedError
from lstm_lm.search.config import SearchConfig
from lstm_lm.search.report import draw, importances, ranked, rows
from lstm_lm.search.space import parse_space
from lstm_lm.search.study import first_attempt, num_finished, open_study, quiet_optuna, run_trials

SPACE, _ = parse_space(["x=interval(-4,4)", "y=a,b"])
DEADLINE = 120


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def parabola(trial: Trial) -> float:
    """Lowest at x=1."""
    values = dict(override.split("=") for override in SPACE.suggest(trial))
    return (float(values["x"]) - 1.0) ** 2 + 100.0


def test_study_continues_where_it_was(tmp_path: Path) -> None:
    run_trials(open_study(SearchConfig(trials=3), SPACE, tmp_path), SearchConfig(trials=3), parabola)
    study = open_study(SearchConfig(trials=5), SPACE, tmp_path)
    run_trials(study, SearchConfig(trials=5), parabola)
    run_trials(study, SearchConfig(trials=5), parabola)
    assert len(study.trials) == 5
    assert [trial.value for trial in ranked(study)] == sorted(trial.value for trial in study.trials)


def test_grid_visits_each_point_once(tmp_path: Path) -> None:
    space, _ = parse_space(["x=1,2,3", "y=a,b"])
    config = SearchConfig(sampler="grid", trials=100)
    study = open_study(config, space, tmp_path)
    run_trials(study, config, lambda trial: float(len(space.suggest(trial))))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == len(study.trials) == 6


def test_failed_trial_counts_and_says_why(tmp_path: Path) -> None:
    def fail(trial: Trial) -> float:
        SPACE.suggest(trial)
        raise TrainingError("the loss became nan at step 3")

    config = SearchConfig(trials=2)
    study = open_study(config, SPACE, tmp_path)
    run_trials(study, config, fail)
    assert num_finished(study) == 2
    assert "the loss became nan at step 3" in rows(study)[0][2]


def test_interrupted_trial_is_queued_again_with_its_folder(tmp_path: Path) -> None:
    def interrupt(trial: Trial) -> float:
        SPACE.suggest(trial)
        raise TrainingInterruptedError(signal.SIGTERM, tmp_path / "run" / "checkpoints" / "last.ckpt")

    config = SearchConfig(trials=1)
    study = open_study(config, SPACE, tmp_path)
    with pytest.raises(TrainingInterruptedError):
        run_trials(study, config, interrupt)
    attempts = []

    def record(trial: Trial) -> float:
        attempts.append(first_attempt(trial))
        return parabola(trial)

    run_trials(study, config, record)
    assert attempts == [0]
    assert study.trials[1].params == study.trials[0].params


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_bad_trials_are_pruned(tmp_path: Path, pruner: str) -> None:
    config = SearchConfig(trials=30, pruner=pruner, startup_trials=3)
    study = open_study(config, SPACE, tmp_path)

    def objective(trial: Trial) -> float:
        value = parabola(trial)
        for step in range(1, 10):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    run_trials(study, config, objective)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.PRUNED) > 3
    best = ranked(study)[0]
    assert best.value is not None
    assert best.value < 104.0


def test_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"--storage: cannot open sqlite:////no/such/folder/x\.db"):
        open_study(SearchConfig(storage="sqlite:////no/such/folder/x.db"), SPACE, tmp_path)


def test_pictures(tmp_path: Path) -> None:
    config = SearchConfig(trials=12)
    study = open_study(config, SPACE, tmp_path)
    assert draw(study, tmp_path) == []
    run_trials(study, config, parabola)
    assert [file.name for file in draw(study, tmp_path / "pictures")] == [
        "history.png", "importances.png", "parallel_coordinates.png", "slices.png"
    ]  # fmt: skip
    assert max(importances(study), key=importances(study).__getitem__) == "x"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL server; the test is skipped without one."""
    folder = tmp_path_factory.mktemp("postgres")
    pg_ctl, initdb = shutil.which("pg_ctl"), shutil.which("initdb")
    if not pg_ctl or not initdb:
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    data, port = folder / "data", 20000 + os.getpid() % 10000
    user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        if not shutil.which("runuser") or "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
            pytest.skip("root cannot start PostgreSQL without the user postgres and runuser")
        shutil.chown(folder, "postgres")
        for parent in folder.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
        user = ["runuser", "-u", "postgres", "--"]
    subprocess.run([*user, initdb, "-D", data, "-A", "trust", "-U", "tune"], check=True, capture_output=True)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run(
        [*user, pg_ctl, "-D", data, "-o", options, "-w", "-l", folder / "log", "start"], check=True, capture_output=True
    )
    try:
        yield f"postgresql+psycopg://tune@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*user, pg_ctl, "-D", data, "-m", "immediate", "stop"], check=False, capture_output=True)


_WORKER = """
import sys, time
from pathlib import Path
from lstm_lm.search.config import SearchConfig
from lstm_lm.search.space import parse_space
from lstm_lm.search.study import first_attempt, open_study, quiet_optuna, run_trials

url, folder, trials, hang = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "hang"
quiet_optuna()
space, _ = parse_space(["x=interval(-4,4)", "y=a,b"])
config = SearchConfig(storage=url, trials=trials, heartbeat=1)

def objective(trial):
    values = dict(override.split("=") for override in space.suggest(trial))
    with (folder / f"trial-{first_attempt(trial)}").open("a") as file:
        file.write(f"{trial.number}\\n")
    if hang:
        (folder / "hanging").touch()
        time.sleep(1000)
    return float(values["x"]) ** 2

run_trials(open_study(config, space, folder), config, objective)
"""


@pytest.mark.slow
def test_trial_of_a_killed_worker_is_repeated_by_another(postgres: str, tmp_path: Path) -> None:
    def worker(mode: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", _WORKER, postgres, str(tmp_path), "6", mode])

    killed = worker("hang")
    deadline = time.monotonic() + DEADLINE
    while not (tmp_path / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    first, second = worker("run"), worker("run")
    assert first.wait(DEADLINE) == second.wait(DEADLINE) == 0
    study = optuna.load_study(study_name="study", storage=postgres)
    # the stale trial is noticed at the start of a later trial, at most one grace period after the kill
    if not any(trial.system_attrs.get("failed_trial") == 0 for trial in study.trials):
        time.sleep(3)
        assert subprocess.run(
            [sys.executable, "-c", _WORKER, postgres, str(tmp_path), "8", "run"], check=True, timeout=DEADLINE
        )
        study = optuna.load_study(study_name="study", storage=postgres)
    repeated = [trial for trial in study.trials if trial.system_attrs.get("failed_trial") == 0]
    assert [trial.state for trial in repeated] == [TrialState.COMPLETE]
    assert repeated[0].params == study.trials[0].params
    assert study.trials[0].state == TrialState.FAIL
    folders = [file.read_text().split() for file in tmp_path.glob("trial-*")]
    assert sorted(len(numbers) for numbers in folders)[-1] == 2, (
        "the repeated trial has the folder of the first attempt"
    )
    numbers = [number for folder in folders for number in folder]
    assert len(numbers) == len(set(numbers)), "no trial ran twice"
