"""Selects the training precision by timing it on this machine."""

import time
from functools import cache

import torch

_SHAPES = ((1024, 512), (512, 4096))  # similar to a window and its output layer
_TRIALS = 7


def choose_precision(accelerator: str) -> str:
    """Choose the format for ``trainer.precision=auto``.

    Args:
        accelerator: ``cpu``, ``gpu`` or ``auto``.

    Returns:
        ``fp32`` or ``bf16``.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        # no need to time it: tensor cores multiply bfloat16 ten times as fast as float32
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if bf16_is_faster(torch.device("cpu")) else "fp32"


def bf16_is_faster(device: torch.device) -> bool:
    """Whether a matrix product in bfloat16 is at least 1.2 times as fast, enough to pay for the conversions.

    Args:
        device: Where training will run.
    """
    seconds = product_seconds(device)
    return seconds["bf16"] * 1.2 < seconds["fp32"]


@cache
def product_seconds(device: torch.device) -> dict[str, float]:
    """Time a matrix product in both formats, once per process.

    The processor's flags are not enough: with only AVX512-BF16, one processor multiplies bfloat16 three times as fast
    as float32 and another half as fast. Takes about 0.3 seconds.

    Args:
        device: Where training will run.

    Returns:
        Seconds, by ``fp32`` and ``bf16``.
    """
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
    factors = {
        name: [torch.ones(shape, device=device, dtype=dtype) for shape in _SHAPES] for name, dtype in formats.items()
    }
    for _ in range(_TRIALS):  # alternating, so that other load affects both
        for name, (left, right) in factors.items():
            begin = time.perf_counter()
            product = left @ right
            float(product[0, 0])  # waits for an asynchronous device
            seconds[name].append(time.perf_counter() - begin)
    # the minimum is the measurement with the least disturbance
    return {name: min(taken) for name, taken in seconds.items()}
