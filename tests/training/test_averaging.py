"""Weight averaging: its arithmetic, what checkpoints hold, and that training continues from the raw weights."""

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

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import TrainingInterruptedError
from lstm_lm.training.averaging import AveragingConfig, lerp_weight, nt_asgd_triggered
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run import train

NAME = "model.embedding.weight"
SGD = optimizer_config("sgd", lr=1.0)


def averaged(values: list[float], averaging: AveragingConfig) -> float:
    average = 0.0
    for count, value in enumerate(values):
        average += lerp_weight(count, averaging) * (value - average)
    return average


def test_plain_average_weights_every_step_equally() -> None:
    for name in ("polyak", "nt_asgd"):
        assert averaged([1.0, 2.0, 6.0], AveragingConfig(name)) == pytest.approx(3.0)


@pytest.mark.parametrize("steps", [1000, 4000])
def test_moving_average_covers_a_fraction_of_the_steps(steps: int) -> None:
    averaging = AveragingConfig("ema", horizon=0.1)
    steps_back = steps - averaged([float(step) for step in range(1, steps + 1)], averaging)
    assert steps_back / steps == pytest.approx(0.1 / 1.1, rel=0.02)
    # the initial weights are forgotten
    assert averaged([1e9] + [1.0] * (steps - 1), averaging) == 1.0


def test_nt_asgd_triggers_when_the_loss_exceeds_an_older_one() -> None:
    falling = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert not any(nt_asgd_triggered(falling[:n], patience=0) for n in range(6))
    assert not nt_asgd_triggered([5.0, 4.0, 3.0, 3.5], patience=2)
    assert not nt_asgd_triggered([3.0, 5.0, 4.0], patience=2)
    assert nt_asgd_triggered([3.0, 5.0, 4.0, 3.5], patience=2)
    assert nt_asgd_triggered([3.0, 2.0, 2.5], patience=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "swa"), ("horizon", 0.0), ("from_fraction", 1.0), ("patience", -1), ("every_steps", 0)],
)
def test_invalid_setting_is_reported(field: str, value: Any) -> None:
    (problem,) = AveragingConfig(**{field: value}).problems()
    assert problem.startswith(f"{field}: ")


def test_polyak_average_is_scored_and_saved_and_does_not_affect_training(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(optimizer=SGD), tmp_path / "plain")
    weights_by_step: dict[int, torch.Tensor] = {}

    def record(self: LanguageModelModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        weights_by_step[self.global_step] = self.model.embedding.weight.detach().clone()

    monkeypatch.setattr(LanguageModelModule, "on_train_batch_end", record)
    averaging = AveragingConfig("polyak", from_fraction=0.5, every_steps=3)
    metrics = train(config(optimizer=SGD, averaging=averaging), tmp_path / "polyak")
    saved = torch.load(tmp_path / "polyak" / "checkpoints" / "last.ckpt", weights_only=True)
    torch.testing.assert_close(saved["current_model_state"][NAME], weights(tmp_path / "plain")[NAME], rtol=0, atol=0)
    averaged_steps = [step for step in weights_by_step if step >= 0.5 * metrics["steps"] and step % 3 == 0]
    expected = torch.stack([weights_by_step[step] for step in averaged_steps]).mean(dim=0)
    torch.testing.assert_close(saved["state_dict"][NAME], expected)
    # the last validation scores the averaged weights, which read_checkpoint returns
    trained = read_checkpoint(tmp_path / "polyak" / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(trained.network.embedding.weight.detach(), expected)
    assert trained.metadata.metrics["valid"]["loss"] == metrics["history"][-1]["loss"]


@pytest.mark.parametrize("step", [30, 60])
def test_nt_asgd_resumes_its_validation_history(
    step: int, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {
        "optimizer": SGD,
        "averaging": AveragingConfig("nt_asgd", patience=0, every_steps=1),
        "trainer": TrainerConfig(precision="fp32", max_epochs=2, val_check_interval=0.25),
    }
    with monkeypatch.context() as patch:
        patch.setattr("lstm_lm.training.callbacks.averaging.nt_asgd_triggered", lambda losses, _: len(losses) == 3)
        metrics = train(config(**overrides), tmp_path / "whole")
        with patch.context() as inner:
            interrupt_at(step, inner)
            with pytest.raises(TrainingInterruptedError) as interrupted:
                train(config(**overrides), tmp_path / "interrupted")
        train(config(**overrides, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    whole = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(whole["averaging_state"]["n_averaged"]) == metrics["steps"] - metrics["history"][2]["step"]
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_moving_average_resumes_exactly(
    optimizer: str, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {
        "optimizer": optimizer_config(optimizer, lr=1e-2),
        "averaging": AveragingConfig("ema", horizon=0.2),
        "schedule": schedule_config("linear", warmup_fraction=0.1),
    }
    whole = train(config(**overrides), tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(50, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(**overrides), tmp_path / "interrupted")
    resumed = train(config(**overrides, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    assert resumed["history"][-1]["loss"] == whole["history"][-1]["loss"]


def test_extended_run_restarts_its_polyak_average(config: ConfigFactory, tmp_path: Path) -> None:
    overrides = {"optimizer": SGD, "averaging": AveragingConfig("polyak", from_fraction=0.5, every_steps=1)}
    short = train(config(**overrides), tmp_path / "short")
    longer = TrainerConfig(precision="fp32", max_epochs=6)
    resume = str(tmp_path / "short" / "checkpoints" / "last.ckpt")
    train(config(**overrides, trainer=longer, resume=resume), tmp_path / "longer")
    saved = torch.load(tmp_path / "longer" / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(saved["averaging_state"]["n_averaged"]) == 3 * short["steps"] - 3 * short["steps"] // 2 + 1
