"""Short training runs and their checkpoints."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lstm_lm.training.config import TrainConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.step_timing import supports_bf16

ConfigFactory = Callable[..., TrainConfig]

_OPTIMIZERS = {
    "adam": "torch.optim.Adam",
    "adamw": "torch.optim.AdamW",
    "row_adamw": "lstm_lm.training.row_adamw.RowAdamW",
    "sgd": "torch.optim.SGD",
}


def optimizer_config(name: str, **arguments: Any) -> dict[str, Any]:
    """A shipped optimizer; the AdamWs without decay."""
    decay = {"weight_decay": 0.0} if name.endswith("adamw") else {}
    return {"_target_": _OPTIMIZERS[name], **decay, **arguments}


def schedule_config(name: str, **arguments: Any) -> dict[str, Any]:
    """A shipped schedule."""
    return {"_target_": f"lstm_lm.training.schedules.{name}", **arguments}


needs_bf16 = pytest.mark.skipif(
    not supports_bf16(torch.device("cpu")), reason="this processor has no bfloat16 instructions"
)
TENSORBOARD = {"tensorboard": {"_target_": "lstm_lm.training.loggers.TensorBoardLogger"}}
EARLY_STOPPING = {
    "_target_": "lightning.pytorch.callbacks.EarlyStopping",
    "monitor": "valid/loss",
    "check_on_train_epoch_end": False,
}


def weights(run_dir: Path, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return {key: tensor for key, tensor in checkpoint["state_dict"].items() if key.startswith("model.")}


def assert_same_weights(one: Path, other: Path, name: str = "last") -> None:
    for key, tensor in weights(one, name).items():
        assert torch.equal(tensor, weights(other, name)[key]), key


def last_rate(run_dir: Path) -> float:
    """The learning rate at the end of a run."""
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process SIGINT, as Ctrl-C does, during a training step."""
    training_step = LanguageModelModule.training_step

    def step_and_signal(self: LanguageModelModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModelModule, "training_step", step_and_signal)


def interrupt_validation(epoch: int, signal_number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal after the first validation batch of an epoch (counted from 0)."""
    validation_step = LanguageModelModule.validation_step

    def step_and_signal(self: LanguageModelModule, batch: Any, batch_idx: int) -> None:
        validation_step(self, batch, batch_idx)
        if batch_idx == 0 and self.current_epoch == epoch:
            os.kill(os.getpid(), signal_number)

    monkeypatch.setattr(LanguageModelModule, "validation_step", step_and_signal)
