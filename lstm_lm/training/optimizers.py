"""Optimizers from their specs."""

from collections.abc import Iterable

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from lstm_lm.training.row_adamw import RowAdamW
from lstm_lm.training.spec import OptimizerSpec

_ADAMS: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW, "row_adamw": RowAdamW}


def build_optimizer(spec: OptimizerSpec, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
    """The optimizer of a spec.

    ``asgd`` is SGD; the average that it is named for (Polyak & Juditsky 1992) is a matter of ``averaging``, which goes
    with every optimizer. Matrices decay, vectors (the biases) do not.
    """
    every = list(parameters)
    groups = [
        {"params": [parameter for parameter in every if parameter.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [parameter for parameter in every if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.name in _ADAMS:
        beta1, beta2 = spec.betas
        return _ADAMS[spec.name](groups, lr=spec.lr, betas=(beta1, beta2), fused=True)
    return SGD(groups, lr=spec.lr, momentum=spec.momentum)
