"""Runs that end with their time budget."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import (
    ConfigFactory,
    assert_same_weights,
    interrupt_at,
    optimizer_config,
    schedule_config,
    weights,
)

from lstm_lm.errors import TrainingError, TrainingInterruptedError
from lstm_lm.training.budget import Scaling, scaling
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run import train

LINEAR = schedule_config("linear", warmup_fraction=0.1, final_fraction=0.0)


def last_rate(run_dir: Path) -> float:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])


class SimulatedClock:
    """The time of a run: it passes only in steps and in windows of validations.

    Args:
        step_seconds: Of a training step.
        window_seconds: Of a window of a validation.

    Attributes:
        slowdown: Multiplies both; a test changes it.
        now: Seconds so far.
    """

    def __init__(self, step_seconds: float, window_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slowdown = 1.0
        steps = {"training_step": step_seconds, "validation_step": window_seconds}
        for name, seconds in steps.items():
            monkeypatch.setattr(LanguageModelModule, name, self._timed(getattr(LanguageModelModule, name), seconds))
        for name in ("monotonic", "perf_counter"):
            monkeypatch.setattr(f"time.{name}", lambda: self.now)

    def _timed(self, step: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        @functools.wraps(step)
        def timed(module: LanguageModelModule, *args: Any) -> Any:
            self.now += seconds * self.slowdown
            return step(module, *args)

        return timed


def test_run_ends_with_its_budget_and_reports_its_use(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="60s", max_val_fraction=0.3, reference_epochs=5.0)
    SimulatedClock(0.25, 0.5, monkeypatch)
    metrics = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path)
    budget = json.loads((tmp_path / "metrics.json").read_text())["budget"]
    assert budget == metrics["budget"]
    assert metrics["stopped_by"] == budget["ended_by"] == "budget"
    assert budget["seconds"] == 60.0
    assert 57.0 < budget["used_seconds"] <= 60.0
    assert budget["used_seconds"] == metrics["wall_seconds"]
    assert 0.0 < budget["validation_seconds"] <= 0.4 * budget["used_seconds"]
    assert budget["epochs"] == metrics["epochs"]
    assert 0.7 < budget["planned_epochs"] / budget["epochs"] < 1.4
    assert budget["first_tokens_per_second"] > 0 < budget["tokens_per_second"]
    assert metrics["history"][-1]["step"] == metrics["steps"]
    assert last_rate(tmp_path) < 0.1 * 1e-2
    factor = metrics["scaling"]["dropout"]
    assert factor == pytest.approx(scaling(budget["planned_epochs"], 1.0, 5.0).dropout, abs=1e-3)
    assert metrics["dropouts"]["weight_dropout"] == pytest.approx(0.1 * factor, abs=1e-3)


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_machine_that_becomes_slower_twice_ends_in_time_and_validates(
    factor: float, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a core were taken away in the middle of the run, and another one before its last validation."""
    clock = SimulatedClock(0.25, 0.5, monkeypatch)
    training_step, validation_step = LanguageModelModule.training_step, LanguageModelModule.validation_step

    def slower_from_the_middle(module: LanguageModelModule, *args: Any) -> Any:
        clock.slowdown = factor if clock.now > 30.0 else 1.0
        return training_step(module, *args)

    def slowest_at_the_end(module: LanguageModelModule, *args: Any) -> None:
        if module.trainer.should_stop:
            clock.slowdown = factor**2
        validation_step(module, *args)

    monkeypatch.setattr(LanguageModelModule, "training_step", slower_from_the_middle)
    monkeypatch.setattr(LanguageModelModule, "validation_step", slowest_at_the_end)
    trainer_config = TrainerConfig(precision="fp32", budget="60s", max_val_fraction=0.1)
    metrics = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path)
    window = 0.5 * factor**2  # a window cannot be broken off
    assert metrics["budget"]["used_seconds"] <= 63.0 + window
    assert metrics["budget"]["used_seconds"] - metrics["budget"]["validation_seconds"] >= 30.0
    assert metrics["stopped_by"] == "budget"
    assert metrics["history"][-1]["step"] == metrics["steps"]
    assert metrics["valid"]["tokens"] > 0


def test_budget_shorter_than_an_epoch_ends_with_one_validation(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="0.7s", max_val_fraction=0.0)
    metrics = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path)
    assert metrics["stopped_by"] == "budget"
    assert len(metrics["history"]) == 1
    assert metrics["history"][0]["step"] == metrics["steps"]


def test_max_epochs_ends_a_run_with_a_budget(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(
        precision="fp32", budget="1h", max_epochs=2, max_val_fraction=0.0, reference_epochs=8.0
    )
    metrics = train(config(trainer=trainer_config), tmp_path)
    assert metrics["stopped_by"] == "max_epochs"
    assert len(metrics["history"]) == 1  # only the last validation


def test_dropouts_are_scaled_without_a_budget(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(config(trainer=TrainerConfig(precision="fp32", max_epochs=2, reference_epochs=8.0)), tmp_path)
    assert metrics["scaling"] == pytest.approx(vars(Scaling(dropout=math.sqrt(2 / 8))), abs=1e-4)
    assert "budget" not in metrics


def test_optimizer_follows_the_length_and_a_resumed_run_is_the_same(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = optimizer_config("row_adamw", lr=1e-2, weight_decay=0.1)
    trainer = TrainerConfig(precision="fp32", threads=1, max_epochs=2, reference_epochs=8.0, reference_steps=1000)
    run = config(trainer=trainer, optimizer=optimizer, schedule=LINEAR)
    metrics = train(run, tmp_path / "whole")
    words_per_token = metrics["vocabulary"] / metrics["history"][0]["tokens"]  # of the first epoch
    expected = scaling(2.0, metrics["steps"], 8.0, 1000, words_per_token)
    assert metrics["scaling"] == pytest.approx(vars(expected), abs=1e-4)
    with monkeypatch.context() as patch:
        interrupt_at(metrics["steps"] // 2, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(run, tmp_path / "first")
    train(replace(run, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    checkpoint = torch.load(tmp_path / "resumed" / "checkpoints" / "last.ckpt", weights_only=True)
    words = checkpoint["optimizer_states"][0]["param_groups"][0]
    assert words["weight_decay"] == pytest.approx(0.1 * expected.weight_decay)
    assert words["initial_lr"] == pytest.approx(1e-2 * expected.lr)
    plain = replace(run, trainer=replace(trainer, reference_steps=None))
    train(plain, tmp_path / "plain")
    assert any(
        not torch.equal(tensor, weights(tmp_path / "plain")[key]) for key, tensor in weights(tmp_path / "whole").items()
    )


def test_resume_keeps_time_and_plan_and_a_larger_budget_replans(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="1h", reference_epochs=5.0)
    with monkeypatch.context() as patch:
        patch.setattr("lstm_lm.training.callbacks.planning._MEASURED_SECONDS", 0.1)
        interrupt_at(60, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(trainer=trainer_config), tmp_path / "first")
    resume = str(interrupted.value.checkpoint)
    saved = torch.load(resume, weights_only=True)["callbacks"]
    time_budget, plan = saved["TimeBudget"], saved["EpochPlanner"]
    assert time_budget["elapsed_seconds"] > 0
    assert plan["planned"]

    def resume_run(name: str, **changes: object) -> dict[str, float]:
        settings = {"precision": "fp32", "budget": "1h", "reference_epochs": 5.0, "max_steps": 100} | changes
        metrics = train(config(trainer=TrainerConfig(**settings), resume=resume), tmp_path / name)  # type: ignore[arg-type]
        assert metrics["budget"]["used_seconds"] > time_budget["elapsed_seconds"]
        assert metrics["steps"] == 100
        return metrics["scaling"] | metrics["budget"]

    same = resume_run("same")
    assert same["dropout"] == pytest.approx(plan["scaling"]["dropout"], abs=1e-4)
    assert same["planned_epochs"] == pytest.approx(plan["epochs"], abs=1e-3)
    monkeypatch.setattr("lstm_lm.training.callbacks.planning._MEASURED_SECONDS", 0.1)
    longer = resume_run("longer", budget="2h")
    assert longer["seconds"] == 7200
    assert longer["planned_epochs"] != pytest.approx(plan["epochs"], rel=1e-6)


def test_run_with_an_exhausted_budget_resumes_with_a_larger_one(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="3s")
    first = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path / "first")
    resume = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    with pytest.raises(TrainingError, match=r"is already finished after \d+ steps; raise trainer\.budget"):
        train(config(trainer=trainer_config, schedule=LINEAR, resume=resume), tmp_path / "none")
    longer = TrainerConfig(precision="fp32", budget="6s")
    second = train(config(trainer=longer, schedule=LINEAR, resume=resume), tmp_path / "second")
    assert second["stopped_by"] == "budget"
    assert second["steps"] > first["steps"]
    assert second["budget"]["used_seconds"] > 4.5
    assert weights(tmp_path / "second")
