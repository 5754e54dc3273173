"""Builds the optimizer of a run from its config: a class of torch or any other that takes parameter groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from lstm_lm.errors import ConfigError
from lstm_lm.imports import resolve
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.budget import Scaling
from lstm_lm.training.row_adamw import RowAdamW
from lstm_lm.training.schedules import build_schedule
from lstm_lm.training.targets import TARGET, build, parameters, target_problems

_IMPLEMENTATIONS = ("fused", "foreach", "differentiable")  # torch accepts one of them


def build_optimizer(config: Mapping[str, Any], model: LSTMLanguageModel) -> Optimizer:
    """Build the optimizer for the parameters of ``model``, in three groups.

    Weight decay applies to matrices only: decaying the biases would only erase the word frequencies.

    Args:
        config: ``_target_`` and its arguments.
        model: The network.

    Raises:
        ConfigError: If the optimizer rejects its arguments.
    """
    word_rows = {model.embedding.weight, model.output_weight}
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    return _build(
        config,
        words=[matrix for matrix in matrices if matrix in word_rows],
        matrices=[matrix for matrix in matrices if matrix not in word_rows],
        biases=[parameter for parameter in model.parameters() if parameter.ndim <= 1],
    )


def rescale(optimizer: Optimizer, schedule: Any, by: Scaling) -> None:
    """Multiply the learning rate, the weight decay and the memory of :class:`RowAdamW` in the middle of a run.

    Args:
        optimizer: The optimizer.
        schedule: Its learning-rate scheduler, whose rates are multiplied as well.
        by: The multipliers.
    """
    for group in optimizer.param_groups:
        for name in ("lr", "initial_lr", "max_lr", "min_lr"):  # those that torch's schedulers keep in a group
            if name in group:
                group[name] *= by.lr
        if "weight_decay" in group:
            group["weight_decay"] *= by.weight_decay
        if isinstance(optimizer, RowAdamW) and group.get("name") in ("words", "biases"):
            beta1, row_beta2 = group["betas"]
            group["betas"] = (beta1, max(1.0 - (1.0 - row_beta2) / by.row_memory, 0.0))
    for name in ("base_lrs", "min_lrs"):
        if hasattr(schedule, name):
            setattr(schedule, name, [lr * by.lr for lr in getattr(schedule, name)])


def _build(config: Mapping[str, Any], **groups: Sequence[Tensor]) -> Optimizer:
    target = resolve(config[TARGET])
    # LearningRateMonitor shows the names; RowAdamW knows the groups by them
    params: list[dict[str, Any]] = [{"params": members, "name": name} for name, members in groups.items()]
    if "weight_decay" in parameters(target):
        params[-1]["weight_decay"] = 0.0
    provided: dict[str, Any] = {"params": params}
    if isinstance(target, type) and issubclass(target, Adam) and not any(name in config for name in _IMPLEMENTATIONS):
        provided["fused"] = True
    optimizer = build(config, "optimizer", **provided)
    if not isinstance(optimizer, Optimizer):
        raise ConfigError([f"optimizer.{TARGET}: is not an optimizer (got {config[TARGET]}); see torch.optim"])
    return optimizer


def uses_sparse_gradients(config: Mapping[str, Any], trainer: L.Trainer, tied: bool) -> bool:
    """Whether a run gives the embedding and output rows sparse gradients, for an optimizer that updates single rows.

    On a GPU, coalescing a sparse gradient synchronizes. With several processes, torch averages only the sparse gradient
    of an embedding, so the output layer must be tied to it.
    """
    on_cpu = trainer.strategy.root_device.type == "cpu"
    return updates_rows(config) and on_cpu and (trainer.world_size == 1 or tied)


def updates_rows(config: Mapping[str, Any]) -> bool:
    """Whether the optimizer updates single rows of a matrix if its gradient is sparse."""
    target = resolve(config[TARGET])
    return isinstance(target, type) and issubclass(target, RowAdamW)


def optimizer_problems(optimizer: Mapping[str, Any], schedule: Mapping[str, Any]) -> list[str]:
    """What is wrong with the two, found by building both for a network of three numbers."""
    problems = target_problems(optimizer, "optimizer", ("params",))
    lr = optimizer.get("lr")
    if isinstance(lr, int | float) and not lr > 0.0:
        problems.append(f"optimizer.lr: must be above 0 (got {lr}); try 1e-3")
    schedule_problems = target_problems(schedule, "schedule", ("optimizer", "fraction"))
    shapes = {"words": (1, 1), "matrices": (1, 1), "biases": (1,)}
    weights = {name: [torch.zeros(shape, requires_grad=True)] for name, shape in shapes.items()}
    built: Optimizer = SGD(weights["words"], lr=1.0)  # for the schedule, where the optimizer has problems
    if not problems:
        try:
            built = _build(optimizer, **weights)
        except ConfigError as error:
            problems = list(error.problems)
    if not schedule_problems:
        try:
            build_schedule(schedule, built, lambda: 0.0)
        except ConfigError as error:
            schedule_problems = list(error.problems)
    return problems + schedule_problems
