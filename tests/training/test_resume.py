"""A resumed run equals an uninterrupted one; incompatible checkpoints are rejected."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.small_runs import (
    EARLY_STOPPING,
    ConfigFactory,
    assert_same_weights,
    interrupt_at,
    interrupt_validation,
    last_rate,
    optimizer_config,
    schedule_config,
)

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.errors import CheckpointError, TrainingError, TrainingInterruptedError
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.callbacks.interrupt import GracefulInterrupt
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.resume import run_record
from lstm_lm.training.run import train


@pytest.mark.parametrize("step", [5, 38, 39, 60])
@pytest.mark.parametrize(
    "overrides",
    [
        {"schedule": schedule_config("cosine", warmup_fraction=0.1)},
        {
            "optimizer": optimizer_config("sgd", lr=1.0),
            "averaging": AveragingConfig("polyak", from_fraction=0.5),
            "schedule": schedule_config("plateau"),
            "loss": LossConfig("sampled_softmax", num_frequent=4, num_sampled=8),
        },
        {
            "optimizer": optimizer_config("row_adamw", lr=1e-2, weight_decay=0.1),
            "averaging": AveragingConfig("ema"),
            "loss": LossConfig("sampled_softmax", num_frequent=4, num_sampled=8),
        },
    ],
    ids=["adamw", "asgd", "row_adamw"],
)
def test_run_interrupted_at_any_step_resumes_exactly(
    step: int, overrides: dict[str, Any], config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config(**overrides), tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(step, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(**overrides), tmp_path / "interrupted")
    assert interrupted.value.signal_number == signal.SIGINT
    resumed = train(config(**overrides, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    assert resumed["steps"] == whole["steps"]
    assert resumed["history"][-1]["loss"] == whole["history"][-1]["loss"]
    assert len(resumed["history"]) == len(whole["history"])
    assert resumed["valid"] == whole["valid"]
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed", "best")


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_run_interrupted_in_a_validation_resumes_exactly(
    averaging: str, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"optimizer": optimizer_config("sgd", lr=1.0), "averaging": AveragingConfig(averaging)}
    whole = train(config(**overrides), tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_validation(0, signal.SIGTERM, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(**overrides), tmp_path / "interrupted")
    assert interrupted.value.signal_number == signal.SIGTERM
    resumed = train(config(**overrides, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    assert [entry["loss"] for entry in resumed["history"]] == [entry["loss"] for entry in whole["history"]]


def test_plateau_and_early_stopping_count_the_interrupted_validation(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is learnt, so every validation counts: forgetting one changes the length and the learning rate."""
    callbacks = {"early_stopping": EARLY_STOPPING | {"patience": 3}}
    overrides = {
        "optimizer": optimizer_config("sgd", lr=1e-12),
        "schedule": schedule_config("plateau", factor=0.5, patience=1),
        "trainer": TrainerConfig(precision="fp32", max_epochs=20),
        "callbacks": callbacks,
    }
    whole = train(config(**overrides), tmp_path / "whole")
    assert whole["stopped_by"] == "early_stopping"
    with monkeypatch.context() as patch:
        interrupt_validation(1, signal.SIGINT, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(**overrides), tmp_path / "interrupted")
    resumed = train(config(**overrides, resume=str(interrupted.value.checkpoint)), tmp_path / "resumed")
    assert resumed["steps"] == whole["steps"]
    rates = [last_rate(tmp_path / name) for name in ("whole", "resumed")]
    assert rates[0] == rates[1] < 1e-12


def test_finished_run_can_be_extended(config: ConfigFactory, tmp_path: Path) -> None:
    train(config(), tmp_path / "short")
    longer = TrainerConfig(precision="fp32", max_epochs=3)
    whole = train(config(trainer=longer), tmp_path / "whole")
    resume = str(tmp_path / "short" / "checkpoints" / "last.ckpt")
    resumed = train(config(trainer=longer, resume=resume), tmp_path / "resumed")
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    assert [entry["loss"] for entry in resumed["history"]] == [entry["loss"] for entry in whole["history"]]


def test_a_run_in_bfloat16_continues_on_a_processor_without_it(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lstm_lm.training.step_timing.supports_bf16", lambda _: False)
    with monkeypatch.context() as patch:
        in_bf16 = lambda config, _precision, *rest: run_record(config, "bf16", *rest)  # noqa: E731
        patch.setattr("lstm_lm.training.run.run_record", in_bf16)
        train(config(), tmp_path)
    metrics = train(config(resume="auto", trainer=TrainerConfig(max_epochs=3)), tmp_path)
    assert metrics["precision"] == "fp32"
    assert "trainer.precision (checkpoint: bf16, now: fp32)" in caplog.text


def test_resuming_a_finished_run_is_reported(config: ConfigFactory, tmp_path: Path) -> None:
    train(config(), tmp_path / "run")
    resume = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(TrainingError, match=r"is already finished after \d+ steps; raise trainer\.budget"):
        train(config(resume=resume), tmp_path / "again")


def test_resume_rejects_another_config_a_missing_file_and_a_damaged_one(config: ConfigFactory, tmp_path: Path) -> None:
    short = TrainerConfig(precision="fp32", max_steps=2)
    train(config(trainer=short), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError, match="was trained with a different model"):
        train(config(model=ModelConfig(8, [8]), resume=str(last)), tmp_path / "other")
    for part, value in {
        "loss": LossConfig("sampled_softmax", num_frequent=4, num_sampled=8),
        "optimizer": optimizer_config("sgd", lr=1e-2),
        "schedule": schedule_config("linear"),
        "averaging": AveragingConfig("ema"),
        "batching": BatchingConfig(4, 4, 30, jitter=True, random_offset=True),
        "seed": 2,
    }.items():
        with pytest.raises(CheckpointError, match=f"was trained with a different {part} .*overrides of the first run"):
            train(config(**{part: value}, resume=str(last)), tmp_path / "other")
    with pytest.raises(CheckpointError, match="there is no such file"):
        train(config(resume=str(tmp_path / "nowhere.ckpt")), tmp_path / "other")
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="the checkpoint is incomplete or damaged"):
        train(config(resume=str(last)), tmp_path / "other")


def test_resume_names_the_keys_that_differ(config: ConfigFactory, tmp_path: Path) -> None:
    short = TrainerConfig(precision="fp32", max_steps=2)
    train(config(trainer=short), tmp_path / "run")
    last = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    other = config(optimizer=optimizer_config("adamw", lr=2e-2), seed=3, resume=last)
    with pytest.raises(CheckpointError) as caught:
        train(other, tmp_path / "other")
    assert str(caught.value) == (
        f"{last}: was trained with a different optimizer, seed (optimizer.lr is 0.01 in the checkpoint and 0.02 now; "
        "seed is 1 in the checkpoint and 3 now); resume with the overrides of the first run"
    )


def test_resume_refuses_another_text_of_the_same_vocabulary(
    config: ConfigFactory, corpus: Path, tmp_path: Path
) -> None:
    short = TrainerConfig(precision="fp32", max_steps=2)
    train(config(trainer=short), tmp_path / "run")
    other = tmp_path / "corpus"
    shutil.copytree(corpus, other)
    lines = (other / "train.txt").read_text().splitlines(keepends=True)
    (other / "train.txt").write_text("".join([*lines[300:], *lines[:300]]))
    resume = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    data = DataConfig(source="text_files", dir=str(other))
    with pytest.raises(CheckpointError, match=r"a different text \(text in train\.txt\); resume with"):
        train(config(data=data, resume=resume), tmp_path / "other")


def test_resume_warns_of_settings_that_may_differ(
    config: ConfigFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cosine = schedule_config("cosine")
    train(config(trainer=TrainerConfig(precision="fp32", max_steps=2), schedule=cosine), tmp_path / "run")
    resume = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    trainer = TrainerConfig(precision="fp32", max_steps=3, gradient_clip_val=1.0)
    train(config(trainer=trainer, schedule=cosine, loss=LossConfig(), resume=resume), tmp_path / "other")
    (message,) = [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]
    assert message == (
        f"{resume}: the run continues with other settings than it began with: "
        "loss.activation_reg (checkpoint: 1.0, now: 0.0), loss.temporal_activation_reg (checkpoint: 1.0, now: 0.0), "
        "trainer.gradient_clip_val (checkpoint: 0.25, now: 1.0), trainer.max_steps (checkpoint: 2, now: 3)"
    )


def test_signal_to_one_process_stops_all(tmp_path: Path) -> None:
    saved: list[Path] = []
    strategy = SimpleNamespace(reduce_boolean_decision=lambda *_, **__: True)  # another process received a signal
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_should_accumulate=lambda: False))
    trainer: Any = SimpleNamespace(strategy=strategy, global_step=3, save_checkpoint=saved.append, fit_loop=loop)
    checkpoints = BestAndLastCheckpoint(tmp_path)
    with pytest.raises(TrainingInterruptedError) as interrupted:
        GracefulInterrupt(checkpoints).on_train_batch_end(trainer)
    assert interrupted.value.signal_number == signal.SIGTERM
    assert saved == [checkpoints.last]


def test_resumed_run_without_improvement_keeps_the_best_checkpoint(config: ConfigFactory, tmp_path: Path) -> None:
    first = train(config(), tmp_path / "first")
    longer = TrainerConfig(precision="fp32", max_epochs=3)
    resume = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    ruined = LossConfig(activation_reg=1e6)
    second = train(config(trainer=longer, loss=ruined, resume=resume), tmp_path / "second")
    assert second["history"][-1]["loss"] > first["valid"]["loss"]
    assert second["valid"] == first["valid"]
    assert_same_weights(tmp_path / "first", tmp_path / "second", "best")


def damaged(whole: bytes) -> bytes:
    return whole[: len(whole) // 2] + bytes(400) + whole[len(whole) // 2 + 400 :]


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("what", ["damaged", "truncated", "foreign"])
def test_a_best_checkpoint_that_is_not_whole_or_not_of_this_run_is_left(
    what: str, in_place: bool, config: ConfigFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one_epoch = TrainerConfig(precision="fp32", max_epochs=1)
    train(config(trainer=one_epoch), tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    whole = best.read_bytes()
    best.unlink()  # last.ckpt may be a link to the same file
    if what == "foreign":
        train(config(trainer=one_epoch, seed=2), tmp_path / "other")
        best.write_bytes((tmp_path / "other" / "checkpoints" / "best.ckpt").read_bytes())
    else:
        best.write_bytes(damaged(whole) if what == "damaged" else whole[:5000])
    resume, folder = str(best.with_name("last.ckpt")), tmp_path / ("run" if in_place else "resumed")
    metrics = train(config(resume=resume), folder)
    assert "the next validation writes a new best.ckpt" in caplog.text
    assert metrics["valid"]["loss"] == metrics["history"][-1]["loss"]
    assert read_checkpoint(folder / "checkpoints" / "best.ckpt").metadata.metrics["valid"] == metrics["valid"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.pop("optimizer_states"), "KeyError"),
        (lambda c: c.update(loops=[1]), "TypeError"),
        (lambda c: c["callbacks"].update(TimeBudget={"budget": 1}), "KeyError"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(processed="x"), "processed must be an int"),
        (lambda c: c["callbacks"]["BestAndLastCheckpoint"].update(best_score=[1]), "ValueError"),
        (lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="x"), "TypeError"),
        (lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(3)), r"exp_avg has shape \(3,\)"),
        (lambda c: c["lstm_lm"]["state"]["hidden"].pop(), "Error"),
        (lambda c: c["lstm_lm"].update(model=[1]), "model: must be a mapping"),
        (lambda c: c["lstm_lm"].update(optimizer=[1]), "was trained with a different optimizer"),
    ],
)
def test_a_crafted_checkpoint_is_refused_by_resume(
    change: Callable[[dict[str, Any]], Any], reason: str, config: ConfigFactory, tmp_path: Path
) -> None:
    train(config(trainer=TrainerConfig(precision="fp32", max_steps=2)), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    torch.save(content, last)
    with pytest.raises(CheckpointError, match=rf"last\.ckpt: .*{reason}"):
        train(config(resume=str(last)), tmp_path / "other")
