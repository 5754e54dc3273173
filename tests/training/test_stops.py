"""A run that is stopped at any moment, and as often as you like, ends as if it had not been stopped."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from helpers.same_runs import difference
from helpers.small_runs import ConfigFactory, schedule_config

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.errors import TrainingInterruptedError
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.run import train
from lstm_lm.training.run_folder import finished_by
from lstm_lm.training.signals import exit_on_stop_signals

HOOKS = (
    "setup",
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
)


class AtHook(L.Callback):
    """Calls ``action`` with the name of each hook and the number of its call, from 1."""

    def __init__(self, action: Callable[[str, int], None]) -> None:
        self.calls: Counter[str] = Counter()
        for name in HOOKS:
            setattr(self, name, self._hook(name))
        self.action = action

    def _hook(self, name: str) -> Callable[..., None]:
        def called(*_: Any, **__: Any) -> None:
            self.calls[name] += 1
            self.action(name, self.calls[name])

        return called


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def attempt(config: TrainConfig, folder: Path, *callbacks: L.Callback) -> int:
    """Train as ``lstm-lm train`` does; the exit status."""
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with exit_on_stop_signals():
            train(config, folder, callbacks=callbacks)
    except TrainingInterruptedError as interrupted:
        return 128 + interrupted.signal_number
    except SystemExit as exit_request:
        return int(exit_request.code or 0)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


@pytest.fixture(scope="module")
def short_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    for split, lines in (("train", 60), ("valid", 10), ("test", 10)):
        (folder / f"{split}.txt").write_text("".join(f"the {i % 7} cats saw {i % 5} dogs\n" for i in range(lines)))
    return folder


# epochs of 7 windows, or 5; validations every 3 windows of an epoch, or 2 or 7, and at the end of the run
EPOCHS = TrainerConfig(precision="fp32", max_epochs=2, val_check_interval=0.5)
WHOLE_EPOCHS = replace(EPOCHS, max_epochs=3, val_check_interval=1.0)
LIMITED = replace(EPOCHS, max_epochs=3, limit_train_batches=5)
STEPS = replace(EPOCHS, max_epochs=None, max_steps=11, val_check_interval=1.0)
ACCUMULATED = replace(EPOCHS, arguments={"accumulate_grad_batches": 2})
TRAINERS = pytest.mark.parametrize(
    "trainer",
    [EPOCHS, WHOLE_EPOCHS, LIMITED, STEPS, ACCUMULATED],
    ids=["epochs", "whole epochs", "limited", "steps", "accumulated"],
)


@pytest.fixture
def short(config: ConfigFactory, short_corpus: Path) -> ConfigFactory:
    def make(**overrides: Any) -> TrainConfig:
        made = config(
            data=DataConfig(source="text_files", dir=str(short_corpus)),
            batching=BatchingConfig(4, 2, 16, jitter=True, random_offset=True),
            averaging=AveragingConfig("ema"),
            schedule=schedule_config("plateau"),
        )
        return replace(made, **overrides)

    return make


@TRAINERS
def test_run_stopped_after_every_step_and_validation(
    trainer: TrainerConfig, short: ConfigFactory, tmp_path: Path
) -> None:
    whole = train(short(trainer=trainer), tmp_path / "whole")

    def stop(hook: str, call: int) -> None:
        if hook in ("on_train_batch_start", "on_validation_end") and call == 1:
            send(signal.SIGTERM)

    statuses = []
    while not statuses or statuses[-1]:
        statuses.append(attempt(short(trainer=trainer, resume="auto"), tmp_path / "run", AtHook(stop)))
        assert len(statuses) <= 2 * whole["steps"] + 10, "makes no progress"
    assert set(statuses) == {128 + signal.SIGTERM, 0}
    assert len(statuses) > whole["steps"]
    assert difference(tmp_path / "whole", tmp_path / "run") is None


@pytest.fixture(scope="module")
def whole_runs() -> dict[str, tuple[Path, Counter[str]]]:
    """Uninterrupted runs by name, shared by the tests: the folder, and how often each hook is called."""
    return {}


@pytest.mark.parametrize("hook", HOOKS)
def test_run_stopped_at_the_last_call_of_a_hook(
    hook: str,
    short: ConfigFactory,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    whole_runs: dict[str, tuple[Path, Counter[str]]],
) -> None:
    if "epochs" not in whole_runs:
        count, folder = AtHook(lambda *_: None), tmp_path_factory.mktemp("whole")
        train(short(trainer=EPOCHS), folder, callbacks=[count])
        whole_runs["epochs"] = folder, count.calls
    whole, calls = whole_runs["epochs"]

    def stop(name: str, call: int) -> None:
        if (name, call) == (hook, calls[hook]):
            send(signal.SIGTERM)

    status = attempt(short(trainer=EPOCHS), tmp_path, AtHook(stop))
    # after its last validation, a run has nothing left to save, and ends as usual while its callbacks work
    ended = hook in ("on_train_epoch_end", "on_train_end")
    assert status == (0 if ended else 128 + signal.SIGTERM)
    assert attempt(short(trainer=EPOCHS, resume="auto"), tmp_path) == 0
    assert difference(whole, tmp_path) is None


@TRAINERS
def test_finished_run_without_metrics_writes_them(trainer: TrainerConfig, short: ConfigFactory, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def kill(hook: str, call: int) -> None:
        if hook == "on_fit_end":
            raise SystemExit(1)

    train(short(trainer=trainer), tmp_path / "whole")
    assert attempt(short(trainer=trainer), folder, AtHook(kill)) == 1
    assert finished_by(folder, trainer) is None
    train(short(trainer=trainer, resume="auto"), folder)
    assert difference(tmp_path / "whole", folder) is None


def test_finished_run_continues_with_the_next_epoch(short: ConfigFactory, tmp_path: Path) -> None:
    """It takes every window once, although its first part ended at the last window of an epoch."""
    longer = replace(EPOCHS, max_epochs=3)
    whole = train(short(trainer=longer), tmp_path / "whole")
    train(short(trainer=EPOCHS), tmp_path / "run")
    resumed = train(short(trainer=longer, resume="auto"), tmp_path / "run")
    assert (resumed["steps"], resumed["epochs"]) == (whole["steps"], whole["epochs"])
