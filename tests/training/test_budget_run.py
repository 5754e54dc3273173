"""Runs that end with their time budget."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.small_runs import ConfigFactory, interrupt_at, schedule_config, weights

from lstm_lm.errors import TrainingError, TrainingInterruptedError
from lstm_lm.training.budget import dropout_factor
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.run import train

LINEAR = schedule_config("linear", warmup_fraction=0.1, final_fraction=0.0)


def last_rate(run_dir: Path) -> float:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])


def test_run_ends_with_its_budget_and_reports_its_use(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="6s", max_val_fraction=0.3, dropout_reference_epochs=5.0)
    metrics = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path)
    budget = json.loads((tmp_path / "metrics.json").read_text())["budget"]
    assert budget == metrics["budget"]
    assert metrics["stopped_by"] == budget["ended_by"] == "budget"
    assert budget["seconds"] == 6.0
    # loose, because other load may delay the last validation; test_budget.py is exact, on a simulated clock
    assert 4.0 < budget["used_seconds"] < 20.0
    assert budget["used_seconds"] == metrics["wall_seconds"]
    assert 0.0 < budget["validation_seconds"] < 0.6 * budget["used_seconds"]
    assert budget["epochs"] == metrics["epochs"]
    assert 0.1 < budget["planned_epochs"] / budget["epochs"] < 10.0  # the speed of a busy machine varies
    assert budget["first_tokens_per_second"] > 0 < budget["tokens_per_second"]
    assert metrics["history"][-1]["step"] == metrics["steps"]
    assert last_rate(tmp_path) < 0.1 * 1e-2
    factor = metrics["dropouts"]["factor"]
    assert factor == pytest.approx(dropout_factor(budget["planned_epochs"], 5.0), abs=1e-3)
    assert metrics["dropouts"]["weight_dropout"] == pytest.approx(0.1 * factor, abs=1e-3)


def test_budget_shorter_than_an_epoch_ends_with_one_validation(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="0.7s", max_val_fraction=0.0)
    metrics = train(config(trainer=trainer_config, schedule=LINEAR), tmp_path)
    assert metrics["stopped_by"] == "budget"
    assert len(metrics["history"]) == 1
    assert metrics["history"][0]["step"] == metrics["steps"]


def test_max_epochs_ends_a_run_with_a_budget(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(
        precision="fp32", budget="1h", max_epochs=2, max_val_fraction=0.0, dropout_reference_epochs=8.0
    )
    metrics = train(config(trainer=trainer_config), tmp_path)
    assert metrics["stopped_by"] == "max_epochs"
    assert len(metrics["history"]) == 1  # only the last validation


def test_dropouts_are_scaled_without_a_budget(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(
        config(trainer=TrainerConfig(precision="fp32", max_epochs=2, dropout_reference_epochs=8.0)), tmp_path
    )
    assert metrics["dropouts"]["factor"] == pytest.approx(math.sqrt(2 / 8), abs=1e-4)
    assert "budget" not in metrics


def test_resume_keeps_time_and_plan_and_a_larger_budget_replans(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer_config = TrainerConfig(precision="fp32", budget="1h", dropout_reference_epochs=5.0)
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
        settings = {"precision": "fp32", "budget": "1h", "dropout_reference_epochs": 5.0, "max_steps": 100} | changes
        metrics = train(config(trainer=TrainerConfig(**settings), resume=resume), tmp_path / name)  # type: ignore[arg-type]
        assert metrics["budget"]["used_seconds"] > time_budget["elapsed_seconds"]
        assert metrics["steps"] == 100
        return metrics["dropouts"] | metrics["budget"]

    same = resume_run("same")
    assert same["factor"] == pytest.approx(plan["factor"], abs=1e-4)
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
