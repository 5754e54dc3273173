"""Training is open by configuration: any optimizer, scheduler, callback and Trainer argument, and none from a file."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
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

from lstm_lm.data.streams import Window
from lstm_lm.errors import CheckpointError, ConfigError, TrainingInterruptedError
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run import train
from lstm_lm.training.steps import validate_after_steps

CSV = {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "csv"}}


def trainer_config(arguments: dict[str, Any] | None = None, **settings: Any) -> TrainerConfig:
    return TrainerConfig(precision="fp32", arguments=arguments or {}, **{"max_epochs": 1, **settings})


def logged(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "optimizer",
    [
        {"_target_": "torch.optim.RAdam", "lr": 1e-2, "betas": [0.9, 0.95]},
        {"_target_": "torch.optim.Adagrad", "lr": 1e-2},
        {"_target_": "torch.optim.Adafactor", "lr": 1e-2},
        {"_target_": "torch.optim.NAdam"},
        {"_target_": "torch.optim.AdamW", "amsgrad": True, "fused": False},
    ],
    ids=lambda optimizer: optimizer["_target_"],
)
def test_any_optimizer_trains_and_resumes_exactly(
    optimizer: dict[str, Any], config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(optimizer=optimizer, trainer=trainer_config())
    assert settings.problems() == []
    whole = train(settings, tmp_path / "whole")
    assert whole["history"][-1]["loss"] < 5.0  # the vocabulary has 180 words
    with monkeypatch.context() as patch:
        interrupt_at(10, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(settings, tmp_path / "run")
    train(replace(settings, resume=str(interrupted.value.checkpoint)), tmp_path / "run")
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("schedule", "rate_at"),
    [
        ({"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 10}, {10: 0.0, 20: 1e-2}),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 15}, {10: 1e-2, 20: 1e-3, 30: 1e-4}),
    ],
    ids=lambda value: value.get("_target_", ""),
)
def test_a_scheduler_of_torch_acts_per_step(
    schedule: dict[str, Any], rate_at: dict[int, float], config: ConfigFactory, tmp_path: Path
) -> None:
    settings = config(schedule=schedule, logger=CSV, trainer=trainer_config(log_every_n_steps=10))
    assert settings.problems() == []
    train(settings, tmp_path)
    rates = {int(row["step"]): float(row["train/learning_rate"]) for row in logged(tmp_path) if row["train/loss"]}
    assert {step: rates[step] for step in rate_at} == pytest.approx(rate_at, abs=1e-9)


def test_a_plateau_scheduler_of_torch_acts_per_validation(config: ConfigFactory, tmp_path: Path) -> None:
    schedule = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5, "patience": 0, "eps": 0.0}
    trainer = trainer_config(val_check_interval=0.25)
    train(config(optimizer=optimizer_config("sgd", lr=1e-12), schedule=schedule, trainer=trainer), tmp_path)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-12 / 8)


def test_callbacks_of_others_see_the_run(config: ConfigFactory, tmp_path: Path) -> None:
    callbacks = {"lr": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}, "left_out": None}
    train(config(callbacks=callbacks, logger=CSV, trainer=trainer_config(log_every_n_steps=10)), tmp_path)
    # one column per parameter group
    assert {f"lr-AdamW/{name}" for name in ("words", "matrices", "biases")} <= logged(tmp_path)[0].keys()


def test_checkpoints_are_known_to_lightning_and_written_last(config: ConfigFactory, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class Recorder(L.Callback):
        def on_fit_start(self, trainer: L.Trainer, *_: Any) -> None:
            seen["checkpoint"] = type(trainer.checkpoint_callback).__name__
            seen["order"] = [type(callback).__name__ for callback in trainer.callbacks]  # type: ignore[attr-defined]

    sys.modules["recorder"] = type(sys)("recorder")
    sys.modules["recorder"].Recorder = Recorder  # type: ignore[attr-defined]
    try:
        train(config(callbacks={"mine": {"_target_": "recorder.Recorder"}}, trainer=trainer_config()), tmp_path)
    finally:
        del sys.modules["recorder"]
    assert seen["checkpoint"] == "BestAndLastCheckpoint"
    assert seen["order"][:2] == ["ThreadSelection", "TimeBudget"]
    assert seen["order"][-2:] == ["BestAndLastCheckpoint", "GracefulInterrupt"]
    assert seen["order"].index("Recorder") == 4


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "builtins.dict"}, "is not a callback of Lightning"),
        (
            {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor", "logging_interval": "week"},
            r"callbacks.mine: .*LearningRateMonitor rejects its arguments \(logging_interval should be",
        ),
    ],
)
def test_a_callback_that_cannot_be_built_is_reported(
    node: dict[str, Any], message: str, config: ConfigFactory, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(config(callbacks={"mine": node}), tmp_path)


def test_fast_dev_run_runs_every_part_once(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(config(trainer=trainer_config({"fast_dev_run": True}), logger=CSV), tmp_path)
    assert (metrics["steps"], len(metrics["history"])) == (1, 1)


def test_a_profile_is_in_the_log(config: ConfigFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(config(trainer=trainer_config({"profiler": "simple"}, max_steps=3)), tmp_path)
    assert "FIT Profiler Report" in caplog.text


def test_deterministic_and_detect_anomaly_reach_the_run(config: ConfigFactory, tmp_path: Path) -> None:
    arguments = {"deterministic": True, "detect_anomaly": True}
    seen = []
    step = LanguageModelModule.training_step

    def record(self: LanguageModelModule, batch: Window, batch_idx: int) -> Any:
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()))
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModelModule, "training_step", record)
        try:
            train(config(trainer=trainer_config(arguments, max_steps=2)), tmp_path)
        finally:
            torch.use_deterministic_algorithms(False)
    assert seen == [(True, True)] * 2


def test_clipping_by_value(config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    clip = LanguageModelModule.configure_gradient_clipping

    def record(self: LanguageModelModule, *args: Any, **kwargs: Any) -> None:
        clip(self, *args, **kwargs)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        largest.append(max(float(gradient.abs().max()) for gradient in gradients))

    monkeypatch.setattr(LanguageModelModule, "configure_gradient_clipping", record)
    arguments = {"gradient_clip_algorithm": "value"}
    train(config(trainer=trainer_config(arguments, max_steps=2, gradient_clip_val=1e-4)), tmp_path)
    assert largest == pytest.approx([1e-4, 1e-4])


def test_trainer_rejects_its_arguments_with_one_message(config: ConfigFactory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer: .*profiler"):
        train(config(trainer=trainer_config({"profiler": "simpel"})), tmp_path)


class TestAccumulation:
    """``trainer.accumulate_grad_batches``: a step over several windows, with the state carried between them."""

    def settings(self, config: ConfigFactory, optimizer: str, accumulated: int, **trainer: Any) -> Any:
        base = config()
        quiet = replace(
            base.model,
            embedding_dropout=0.0,
            input_dropout=0.0,
            hidden_dropout=0.0,
            output_dropout=0.0,
            weight_dropout=0.0,
        )
        return config(
            model=quiet,
            optimizer=optimizer_config(optimizer, lr=1e-2, weight_decay=0.1),
            trainer=trainer_config({"accumulate_grad_batches": accumulated}, **trainer),
        )

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw", "row_adamw"])
    def test_steps_equal_those_over_the_joined_windows(
        self, optimizer: str, config: ConfigFactory, tmp_path: Path
    ) -> None:
        settings = self.settings(config, optimizer, 3, max_steps=4, gradient_clip_val=0.05)
        train(settings, tmp_path)
        expected = self.by_hand(settings, accumulated=3, steps=4)
        for name, weight in weights(tmp_path).items():
            torch.testing.assert_close(weight, expected[name.removeprefix("model.")], rtol=1e-4, atol=1e-6)

    @staticmethod
    def by_hand(settings: Any, accumulated: int, steps: int) -> dict[str, torch.Tensor]:
        """The same steps without Lightning: one backward pass over the mean of several windows."""
        from lstm_lm.nn.losses import SoftmaxLoss
        from lstm_lm.nn.model import LSTMLanguageModel
        from lstm_lm.training.objective import window_objective
        from lstm_lm.training.optimizers import build_optimizer

        torch.manual_seed(settings.seed)
        data = LanguageModelDataModule(settings.data, settings.batching, settings.seed)
        data.setup("fit")
        vocabulary = data.corpus.vocabulary
        model = LSTMLanguageModel(settings.model, len(vocabulary))
        model.init_bias_from_unigrams(torch.tensor(vocabulary.counts))
        optimizer = build_optimizer(settings.optimizer, model)
        loss = SoftmaxLoss(settings.loss, vocabulary.counts, sparse_gradient=False)
        state = model.initial_state(settings.batching.batch_size)
        windows = iter(data.train_dataloader())
        for _ in range(steps):
            objectives = []
            for _ in range(accumulated):
                window = next(windows)
                objective, _, _, *tensors = window_objective(
                    model,
                    loss,
                    settings.batching.bptt_length,
                    window.input_ids,
                    window.target_ids,
                    *state.detach().tensors(),
                )
                state = type(state).from_tensors(tensors, len(settings.model.hidden_dims))
                objectives.append(objective)
            optimizer.zero_grad()
            torch.stack(objectives).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.trainer.gradient_clip_val)
            optimizer.step()
        return model.state_dict()

    def test_steps_schedule_and_log_count_optimizer_steps(self, config: ConfigFactory, tmp_path: Path) -> None:
        settings = self.settings(config, "adamw", 4, max_epochs=2, log_every_n_steps=1)
        settings = replace(settings, logger=CSV, schedule=schedule_config("linear", warmup_fraction=0.0))
        windows = len(list(self.windows(settings)))
        metrics = train(settings, tmp_path)
        steps = 2 * -(-windows // 4)
        assert metrics["steps"] == steps
        rows = [row for row in logged(tmp_path) if row["train/loss"]]
        assert [int(row["step"]) for row in rows] == list(range(1, steps + 1))
        assert float(rows[-1]["train/learning_rate"]) < 0.1 * float(rows[0]["train/learning_rate"])

    @staticmethod
    def windows(settings: Any) -> Any:
        data = LanguageModelDataModule(settings.data, settings.batching, settings.seed)
        data.setup("fit")
        return data.train_dataloader()

    def test_an_interrupt_between_two_windows_of_a_step_waits_for_its_end(
        self, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = replace(
            config(trainer=trainer_config({"accumulate_grad_batches": 3}, val_check_interval=0.4, max_epochs=2)),
            optimizer=optimizer_config("row_adamw", lr=1e-2),
        )
        train(settings, tmp_path / "whole")
        with monkeypatch.context() as patch:
            interrupt_at(5, patch)  # at the first window of the sixth step
            with pytest.raises(TrainingInterruptedError) as interrupted:
                train(settings, tmp_path / "run")
        checkpoint = torch.load(interrupted.value.checkpoint, weights_only=True)
        assert checkpoint["global_step"] == 6
        assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] % 3 == 0
        train(replace(settings, resume=str(interrupted.value.checkpoint)), tmp_path / "run")
        assert_same_weights(tmp_path / "whole", tmp_path / "run")

    @pytest.mark.parametrize(("interval", "expected"), [(10, 9), (2, 3), (39, 39)])
    def test_validations_stand_between_steps(self, interval: int, expected: int) -> None:
        from types import SimpleNamespace

        trainer: Any = SimpleNamespace(val_check_batch=interval, accumulate_grad_batches=3, num_training_batches=39)
        validate_after_steps(trainer)
        assert trainer.val_check_batch == expected

    @pytest.mark.parametrize("in_last_step", [False, True])
    def test_a_budget_ends_a_run_at_a_step(
        self, in_last_step: bool, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        num_windows = len(list(self.windows(self.settings(config, "adamw", 4))))
        assert num_windows % 4 == 3
        # a clock of one second per window, so that the budget runs out at the first window of a step: of the second, or
        # of the last of an epoch, which has fewer windows
        monkeypatch.setattr(TimeBudget, "elapsed", lambda time_budget: float(time_budget._steps))
        seconds, expected = (num_windows - 2, num_windows) if in_last_step else (5, 8)
        metrics = train(self.settings(config, "adamw", 4, budget=f"{seconds}s", max_epochs=None), tmp_path)
        assert metrics["stopped_by"] == "budget"
        checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        assert progress["ready"] == progress["completed"] == expected


MALICIOUS = """
from pathlib import Path
Path(__file__).with_suffix(".imported").touch()
from torch.optim import Adam as Stealer
"""


def test_a_checkpoint_never_makes_code_run(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstm_lm.checkpoint import read_checkpoint
    from lstm_lm.cli.main import main

    (tmp_path / "malicious.py").write_text(MALICIOUS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    train(config(trainer=trainer_config()), tmp_path / "run")
    best, last = (tmp_path / "run" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    node = {"_target_": "malicious.Stealer", "lr": 1e-2}
    checkpoint = torch.load(best, weights_only=True)
    optimizer = node | {"sparse_gradient": False}
    checkpoint["lstm_lm"] |= {"optimizer": optimizer, "schedule": node, "callbacks": {"x": node}}
    checkpoint["lstm_lm"]["data"]["_target_"] = checkpoint["lstm_lm"]["model"]["_target_"] = "malicious.Stealer"
    checkpoint["lstm_lm"]["changeable"]["trainer.arguments"] = {"profiler": node}
    crafted = tmp_path / "crafted.ckpt"
    torch.save(checkpoint, crafted)
    with pytest.raises(CheckpointError):
        read_checkpoint(crafted)
    for section in ("data", "model"):
        del checkpoint["lstm_lm"][section]["_target_"]
    torch.save(checkpoint, crafted)
    read_checkpoint(crafted)
    assert main(["eval", f"checkpoint={crafted}", "split=valid", "hydra.run.dir=eval"]) == 0
    assert main(["export", f"checkpoint={crafted}", "out=bundle", "hydra.run.dir=export"]) == 0
    assert main(["predict", "--model", "bundle", "--text", "the old"]) == 0
    with pytest.raises(CheckpointError, match=r"different optimizer, schedule .*malicious\.Stealer in the checkpoint"):
        train(config(trainer=trainer_config(max_epochs=2), resume=str(crafted)), tmp_path / "other")
    assert last.is_file()
    assert not (tmp_path / "malicious.imported").exists()
    # the same target in a config of one's own is used
    train(config(optimizer=node, trainer=trainer_config(max_steps=1)), tmp_path / "own")
    assert (tmp_path / "malicious.imported").exists()
