"""A signal breaks off a validation, and a resumed run repeats it exactly."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.small_runs import ConfigFactory, assert_same_weights, interrupt_at, schedule_config

from lstm_lm.errors import TrainingError, TrainingInterruptedError
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.callbacks.interrupt import GracefulInterrupt
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run import train

QUARTERS = TrainerConfig(precision="fp32", max_epochs=2, val_check_interval=0.25)
STEPS = TrainerConfig(precision="fp32", max_steps=7)


@pytest.fixture(autouse=True)
def default_hangup() -> Iterator[None]:
    """SIGHUP ends a process, even if the tests run under nohup, where a run ignores it."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


def in_validation(number: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Call ``action`` in the second window of a validation (counted from 0); returns the windows of each."""
    step = LanguageModelModule.validation_step
    windows: list[int] = []

    def counted(self: LanguageModelModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            windows.append(0)
        windows[-1] += 1
        if len(windows) == number + 1 and batch_idx == 1:
            action()
        step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModelModule, "validation_step", counted)
    return windows


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def same_history(one: dict[str, Any], other: dict[str, Any]) -> bool:
    names = ("epoch", "step", "tokens", "loss")
    return [[e[n] for n in names] for e in one["history"]] == [[e[n] for n in names] for e in other["history"]]


@pytest.mark.parametrize(
    ("trainer", "number", "signal_number"),
    [
        (QUARTERS, 0, signal.SIGTERM),
        (QUARTERS, 3, signal.SIGUSR1),
        (QUARTERS, 4, signal.SIGUSR2),
        (QUARTERS, 7, signal.SIGHUP),
        (STEPS, 0, signal.SIGINT),
    ],
    ids=["first", "quarter", "epoch end", "last", "max_steps"],
)
def test_validation_is_broken_off_and_repeated(
    trainer: TrainerConfig,
    number: int,
    signal_number: int,
    config: ConfigFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = {"trainer": trainer, "averaging": AveragingConfig("ema"), "schedule": schedule_config("plateau")}
    whole = train(config(**overrides), tmp_path / "whole")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        windows = in_validation(number, send(signal_number), patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(**overrides), folder)
    assert interrupted.value.signal_number == signal_number
    assert len(windows) == number + 1
    assert windows[-1] == 2  # the window of the signal was the last one
    resumed = train(config(**overrides, resume=str(interrupted.value.checkpoint)), folder)
    assert same_history(resumed, whole)
    assert resumed["stopped_by"] == whole["stopped_by"]
    assert resumed["valid"] == whole["valid"]
    for name in ("last", "best"):
        assert_same_weights(tmp_path / "whole", folder, name)


def test_killed_validation_is_repeated(config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        """Ends the process at once: nothing is saved."""

    def kill() -> None:
        raise KilledError

    whole = train(config(trainer=STEPS), tmp_path / "whole")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        in_validation(0, kill, patch)
        with pytest.raises(KilledError):
            train(config(trainer=STEPS), folder)
    resumed = train(config(trainer=STEPS, resume="auto"), folder)
    assert same_history(resumed, whole)
    assert_same_weights(tmp_path / "whole", folder, "best")
    last = str(folder / "checkpoints" / "last.ckpt")
    with pytest.raises(TrainingError, match="already finished"):
        train(config(trainer=STEPS, resume=last), folder)


@pytest.mark.parametrize("step", [8, 9, 36, -1])
def test_signal_just_before_a_validation(
    step: int, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config(trainer=QUARTERS), tmp_path / "whole")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(step % whole["steps"], patch)
        with pytest.raises(TrainingInterruptedError):
            train(config(trainer=QUARTERS), folder)
    resumed = train(config(trainer=QUARTERS, resume="auto"), folder)
    assert same_history(resumed, whole)
    assert_same_weights(tmp_path / "whole", folder)


def test_second_signal_stops_at_once_unless_it_is_the_same_one_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("time.monotonic", lambda: now.seconds)
    interrupt = GracefulInterrupt(BestAndLastCheckpoint(tmp_path))
    interrupt._receive(signal.SIGTERM, None)
    now.seconds += 0.5
    interrupt._receive(signal.SIGTERM, None)
    now.seconds += 1.0
    with pytest.raises(TrainingInterruptedError):
        interrupt._receive(signal.SIGTERM, None)


def test_nohup_stays_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BestAndLastCheckpoint, "continue_step", lambda *_: None)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt = GracefulInterrupt(BestAndLastCheckpoint(tmp_path))
    try:
        interrupt.on_train_start(None, None)  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) == interrupt._receive
    finally:
        interrupt.teardown(None, None, "fit")  # type: ignore[arg-type]
        signal.signal(signal.SIGHUP, previous)


def test_only_our_mechanism_saves_on_slurm(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = {"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in (slurm | {"JOB_NODELIST": "node", "NTASKS_PER_NODE": "1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with monkeypatch.context() as patch:
        in_validation(0, send(signal.SIGUSR1), patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(trainer=STEPS), tmp_path)
    assert interrupted.value.signal_number == signal.SIGUSR1
    assert sorted(file.name for file in tmp_path.rglob("*.ckpt")) == ["last.ckpt"]
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    with pytest.raises(TrainingError, match=r"hpc_ckpt_1\.ckpt: Lightning wrote this checkpoint for SLURM"):
        train(config(trainer=STEPS, resume="auto"), tmp_path)
