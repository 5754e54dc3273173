"""Run folders: nothing is replaced, one process at a time, and ``resume=auto``."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_runs import ConfigFactory, assert_same_weights, interrupt_at

from lstm_lm.errors import CheckpointError, TrainingError, TrainingInterruptedError
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.resume import newest_checkpoint
from lstm_lm.training.run import train
from lstm_lm.training.run_folder import (
    FinishedRunError,
    check_run_folder,
    finished_by,
    limits,
    lock_folder,
    open_run_folder,
)

SHORT = TrainerConfig(precision="fp32", max_steps=3)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def run(config: ConfigFactory, tmp_path: Path) -> Path:
    train(config(trainer=SHORT), tmp_path / "run")
    return tmp_path / "run"


def test_folder_of_a_run_is_refused_and_stays_as_it_is(config: ConfigFactory, run: Path, tmp_path: Path) -> None:
    before = content(run)
    other = tmp_path / "other.ckpt"
    shutil.copy(run / "checkpoints" / "last.ckpt", other)
    for resume in (None, str(other), str(run / "checkpoints" / "best.ckpt")):
        for start in (train, lambda c, folder: open_run_folder(c, folder).__enter__()):
            with pytest.raises(TrainingError, match=r"holds the checkpoints of a run.*resume=auto.*hydra\.run\.dir"):
                start(config(trainer=SHORT, resume=resume), run)
    assert content(run) == before


def test_start_removes_what_a_killed_run_was_writing(config: ConfigFactory, run: Path) -> None:
    checkpoints = run / "checkpoints"
    left = [checkpoints / ".best.ckpt.abcd_123", checkpoints / ".last.ckpt.abcd_123", run / ".metrics.json.abcd_123"]
    for file in left:
        file.write_text("half")
    (checkpoints / ".last.ckpt.link").hardlink_to(checkpoints / "last.ckpt")
    before = content(run).keys()
    with open_run_folder(config(trainer=replace(SHORT, max_steps=5), resume="auto"), run):
        pass
    assert {name for name in before - content(run).keys() if not name.endswith(".lock")} == {
        *(str(file.relative_to(run)) for file in left),
        "checkpoints/.last.ckpt.link",
    }


def test_run_continues_in_its_own_folder(config: ConfigFactory, run: Path) -> None:
    longer = replace(SHORT, max_steps=5)
    last = run / "checkpoints" / "last.ckpt"
    assert train(config(trainer=longer, resume=str(last)), run)["steps"] == 5


@pytest.mark.parametrize("damaged", [None, "last"])
def test_auto_starts_continues_and_finishes(
    damaged: str | None, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, auto = tmp_path / "run", config(resume="auto")
    whole = train(config(), tmp_path / "whole")
    with monkeypatch.context() as patch, open_run_folder(auto, folder):
        interrupt_at(60, patch)
        with pytest.raises(TrainingInterruptedError):
            train(auto, folder)
    if damaged:
        file = folder / "checkpoints" / "last.ckpt"
        file.write_bytes(file.read_bytes()[:1000])
    with open_run_folder(auto, folder):
        assert train(auto, folder)["valid"] == whole["valid"]
    assert_same_weights(tmp_path / "whole", folder)
    before = content(folder)
    with pytest.raises(FinishedRunError, match="ended by max_epochs"), open_run_folder(auto, folder):
        pass
    assert content(folder) == before
    longer = config(resume="auto", trainer=TrainerConfig(precision="fp32", max_epochs=3))
    with open_run_folder(longer, folder):
        assert train(longer, folder)["epochs"] > whole["epochs"]


def test_auto_writes_the_metrics_that_a_killed_run_did_not(config: ConfigFactory, run: Path) -> None:
    written = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    auto = config(trainer=SHORT, resume="auto")
    assert finished_by(run, SHORT) is None
    train(auto, run)
    again = json.loads((run / "metrics.json").read_text())
    for name in ("valid", "steps", "stopped_by", "history"):
        assert again[name] == written[name]
    assert finished_by(run, SHORT) == "max_steps"


@pytest.mark.parametrize(
    ("stopped_by", "before", "now", "finished"),
    [
        ("max_steps", {"max_steps": 5}, {"max_steps": 5}, True),
        ("max_steps", {"max_steps": 5}, {"max_steps": 4}, True),
        ("max_steps", {"max_steps": 5}, {"max_steps": 6}, False),
        ("max_steps", {"max_steps": 5}, {"max_epochs": 1}, False),
        ("max_epochs", {}, {}, True),
        ("max_epochs", {}, {"max_epochs": 11}, False),
        ("max_epochs", {}, {"max_steps": 100}, False),
        ("budget", {"budget": "10m"}, {"budget": "600s"}, True),
        ("budget", {"budget": "10m"}, {"budget": "11m"}, False),
        ("budget", {"budget": "10m"}, {"budget": "10m", "max_epochs": 1}, True),
        ("early_stopping", {"max_epochs": 5}, {"max_epochs": 5}, True),
        ("early_stopping", {"max_epochs": 5}, {"max_epochs": 6}, False),
    ],
)
def test_only_a_raised_limit_continues_a_finished_run(
    stopped_by: str, before: dict[str, Any], now: dict[str, Any], finished: bool, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    metrics = {"stopped_by": stopped_by, "limits": limits(TrainerConfig(**before))}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert finished_by(tmp_path, TrainerConfig(**now)) == (stopped_by if finished else None)


def test_unreadable_metrics_are_no_finished_run(run: Path) -> None:
    for text in ("", "[]", "{}", '{"stopped_by": "max_steps"}', '{"stopped_by": "max_steps", "limits": 3}'):
        (run / "metrics.json").write_text(text)
        assert finished_by(run, SHORT) is None


def test_folder_without_a_readable_checkpoint_is_reported(run: Path) -> None:
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read: move the folder away"):
        newest_checkpoint(run)


def test_second_process_is_refused_until_the_first_one_is_killed(config: ConfigFactory, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lstm_lm.training.run_folder import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(TrainingError, match=f"in use by process {other.pid};"), lock_folder(tmp_path):
                pass
            with pytest.raises(TrainingError, match="in use"), open_run_folder(config(), tmp_path):
                pass
        finally:
            other.kill()
    with lock_folder(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_other_ranks_check_the_folder_and_leave_the_lock_to_the_first(
    config: ConfigFactory, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(TrainingError, match="holds the checkpoints of a run"), open_run_folder(config(), run):
        pass
    with lock_folder(run), open_run_folder(config(resume="auto"), run):
        pass


def test_new_folder_needs_no_check(config: ConfigFactory, tmp_path: Path) -> None:
    check_run_folder(config(), tmp_path / "new")
    assert newest_checkpoint(tmp_path / "new") is None
    assert not BestAndLastCheckpoint(tmp_path / "new").best.exists()
