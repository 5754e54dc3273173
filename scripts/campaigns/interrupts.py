"""Runs that are killed or asked to stop at random moments, and two runs that want the same folder."""

import shutil
import signal
import time
from pathlib import Path

from helpers.same_runs import difference

from campaigns.outcome import Outcome, Progress
from campaigns.project import Command, Fault, Project

_MAX_TRIES = 10  # to hit a write or a validation


def kill(project: Project, progress: Progress) -> Outcome:
    """SIGKILL at random moments, half of them in a checkpoint write; each run is then resumed to its end."""
    num_kills = 2 if project.quick else 20
    outcome = Outcome("kill -9, then resume", num_kills, progress)
    size = (project.whole() / "checkpoints" / "last.ckpt").stat().st_size
    for number in range(num_kills):
        in_write = number % 2 == 0
        for _ in range(_MAX_TRIES):
            run = _fresh(project, "killed")
            if in_write:
                torn = Fault(torn_write=project.rng.randrange(12), torn_bytes=project.rng.randrange(size))
                command = project.train(run.name, fault=torn)
            else:
                command = project.train(run.name)
                command.wait_cpu_seconds(project.rng.uniform(0.1, 1.0) * project.cpu_seconds)
                command.kill(signal.SIGKILL)
            killed = command.wait() == -signal.SIGKILL
            was_torn = bool(_partial_checkpoints(run))
            if killed and (was_torn or not in_write):
                break
        else:
            outcome.fail(f"no kill {'in a write' if in_write else 'of a run'} in {_MAX_TRIES} tries")
            continue
        where = "in a write" if was_torn else "elsewhere"
        _resume_and_compare(project, run, outcome, f"bit-equal after a kill {where}")
    return outcome


def terminate(project: Project, progress: Progress) -> Outcome:
    """SIGTERM at random moments, some of them in a validation; each run is then resumed to its end."""
    num_signals, num_in_validation = (2, 1) if project.quick else (10, 2)
    outcome = Outcome("SIGTERM, then resume", num_signals, progress)
    project.whole()
    for number in range(num_signals):
        in_validation = number < num_in_validation
        for _ in range(_MAX_TRIES):
            run = _fresh(project, "stopped")
            command = project.train(run.name)
            if in_validation:
                _wait_for_validation(command, run, skip=project.rng.randrange(3))
            else:
                command.wait_cpu_seconds(project.rng.uniform(0.1, 1.0) * project.cpu_seconds)
            command.kill(signal.SIGTERM)
            stopped = command.wait() == 128 + signal.SIGTERM
            where = _stopped_where(run)
            if stopped and (where == "in a validation" or not in_validation):
                break
        else:
            outcome.fail(f"no signal {'in a validation' if in_validation else 'in a run'} in {_MAX_TRIES} tries")
            continue
        _resume_and_compare(project, run, outcome, f"bit-equal after a signal {where}")
    return outcome


def share_folder(project: Project, progress: Progress) -> Outcome:
    """Two runs are started in one folder: exactly one trains, and its result is that of a run alone."""
    num_pairs = 1 if project.quick else 4
    outcome = Outcome("two runs in one folder", num_pairs, progress)
    for number in range(num_pairs):
        run = _fresh(project, "shared")
        first = project.train(run.name)
        is_running = number % 2 == 1  # else both start at once
        if is_running:
            project.whole()
            first.wait_cpu_seconds(0.6 * project.cpu_seconds)
            first.kill(signal.SIGSTOP)  # it must not end before the second one looks
        second = project.train(run.name)
        if is_running:
            second.wait()
            first.kill(signal.SIGCONT)
        statuses = sorted(command.wait() for command in (first, second))
        refused = [command for command in (first, second) if "in use by process" in command.output]
        if statuses != [0, 1] or len(refused) != 1:
            outcome.fail(f"exit statuses {statuses}: {first.output[-300:]} {second.output[-300:]}")
        elif problem := difference(project.whole(), run):
            outcome.fail(f"the run that was left alone has {problem}")
        else:
            outcome.record("second run refused, first bit-equal")
    return outcome


def _resume_and_compare(project: Project, run: Path, outcome: Outcome, ending: str) -> None:
    command = project.train(run.name)
    status = command.wait()
    if status:
        outcome.fail(f"the resumed run exits with {status}: {command.output[-500:]}")
    elif problem := difference(project.whole(), run):
        outcome.fail(f"the resumed run has {problem}")
    elif partial := _partial_checkpoints(run):
        outcome.fail(f"{partial[0].name} was not cleaned up")
    else:
        outcome.record(ending)


def _fresh(project: Project, name: str) -> Path:
    run = project.folder / name
    shutil.rmtree(run, ignore_errors=True)
    return run


def _partial_checkpoints(run: Path) -> list[Path]:
    """Temporary files of checkpoint writes."""
    folder = run / "checkpoints"
    return [file for file in folder.iterdir() if file.name.startswith(".")] if folder.is_dir() else []


def _wait_for_validation(command: Command, run: Path, skip: int) -> None:
    """Wait until ``last.ckpt`` was written ``skip`` + 1 times: before a validation or after one without a new best."""
    last, versions = run / "checkpoints" / "last.ckpt", set[int]()
    while command.process.exitcode is None and len(versions) <= skip:
        if last.is_file():
            versions.add(last.stat().st_mtime_ns)
        time.sleep(0.001)
    time.sleep(0.03)


def _stopped_where(run: Path) -> str:
    """The part of the run in which a signal arrived, by the checkpoint that it left."""
    from lstm_lm.checkpoint import read_checkpoint

    last = run / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return "before training"
    callbacks = read_checkpoint(last).content["callbacks"]
    # just before a validation, last.ckpt is saved with this mark
    return "in a validation" if any(state.get("validation_due") for state in callbacks.values()) else "in training"
