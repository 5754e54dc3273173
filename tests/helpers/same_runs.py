"""Whether two runs ended alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.evaluation.token_scores import TOKEN_SCORES

_TIMES = ("elapsed_seconds", "validation_seconds", "validation_time", "setup_seconds", "minutes", "wall_seconds")
_THROUGHPUTS = ("tokens_per_second",)
# a counter of Lightning: where a process that has resumed ends an epoch, it leaves out the step of a plateau schedule,
# which the module takes at each validation
_UNUSED_COUNTERS = ("epoch_loop.scheduler_progress",)
_NOT_COMPARED = {*_TIMES, *_THROUGHPUTS, *_UNUSED_COUNTERS, "versions"}


def difference(one: Path, other: Path) -> str | None:
    """The first difference between two finished runs, ``None`` if they are equal bit by bit.

    Compares metrics.json with the history of validations, everything in both checkpoints (weights, optimizer, averages,
    LSTM state, position in the epoch, state of the callbacks) and the scores of the tokens, but not the times.
    """
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    histories = [[(entry["step"], entry["loss"]) for entry in content["history"]] for content in metrics]
    if histories[0] != histories[1]:
        return f"another history of validations: {histories[1]} instead of {histories[0]}"
    if path := _different(*metrics):
        return f"another {path} in metrics.json"
    for name in ("best.ckpt", "last.ckpt"):
        contents = [read_checkpoint(run / "checkpoints" / name).content for run in (one, other)]
        if path := _different(*contents):
            return f"another {path} in {name}"
    scores = [dict(np.load(run / TOKEN_SCORES)) for run in (one, other)]
    if any(not np.array_equal(scores[0][name], scores[1][name]) for name in scores[0]):
        return f"another {TOKEN_SCORES}"
    return None


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of plain data and tensors are the same, bit by bit."""
    return _different(one, other) is None


def _different(one: Any, other: Any, path: str = "") -> str | None:
    """Path of the first difference between two trees, ``None`` if there is none."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return None if same else path or "tensor"
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{path} {sorted(one.keys() ^ other.keys(), key=str)}"
        pairs = [(f"{path}.{key}".lstrip("."), one[key], other[key]) for key in one if key not in _NOT_COMPARED]
    elif isinstance(one, list | tuple) and type(one) is type(other):
        if len(one) != len(other):
            return f"{path} (length {len(other)} instead of {len(one)})"
        pairs = [(f"{path}[{index}]", *items) for index, items in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other and type(one) is type(other) else f"{path} ({other!r} instead of {one!r})"
    return next((found for name, first, second in pairs if (found := _different(first, second, name))), None)
