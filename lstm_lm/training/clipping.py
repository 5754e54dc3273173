"""Gradient clipping, for dense and sparse gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_gradients(parameters: Iterable[Tensor], limit: float | None, algorithm: str | None = None) -> Tensor:
    """Clip the gradients in place.

    Args:
        parameters: Parameters; those without a gradient are left out. Sparse gradients are coalesced.
        limit: Largest norm of all gradients together, or largest absolute value; ``None`` only measures the norm.
        algorithm: ``value``, or ``norm``, which is the default.

    Returns:
        The norm before clipping, a scalar.
    """
    clipped = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = []
    for parameter in clipped:
        gradient = parameter.grad
        assert gradient is not None
        if gradient.is_sparse:
            gradient = parameter.grad = gradient.coalesce()  # sums duplicate rows
        gradients.append(gradient.values() if gradient.is_sparse else gradient)
    norm = torch.nn.utils.get_total_norm(gradients)
    if algorithm == "value" and limit is not None:
        for gradient in gradients:
            gradient.clamp_(-limit, limit)
    else:
        torch.nn.utils.clip_grads_with_norm_(clipped, torch.inf if limit is None else limit, norm)
    return norm
