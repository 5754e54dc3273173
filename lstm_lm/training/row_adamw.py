"""AdamW for a network with a large embedding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

DECAY_EVERY = 16  # steps whose weight decay is multiplied in at one time


class RowAdamW(AdamW):
    """AdamW that touches only those rows of an embedding which have a gradient.

    A window and its sampled softmax meet a tenth of the words; AdamW goes through embedding, gradient and both moments
    whole at every step. Here a parameter whose gradient is sparse is updated by rows, and every other one by AdamW. The
    group of such a parameter has beta1 = 0: without a first moment a row without a gradient stays where it is, so that
    leaving it out is exact. Only weight decay concerns every row at every step; it is gathered in one factor, which is
    multiplied in every ``DECAY_EVERY`` steps. At these steps the weights are those of AdamW (Loshchilov & Hutter
    2017); in between they are larger by what is owed.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: Takes the gradients first; what it returns is returned.

        Raises:
            ValueError: If a parameter with a sparse gradient has another beta1 than 0.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None  # which AdamW passes over
        super().step()
        return loss

    def _step_rows(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        lr, (beta1, beta2), state = group["lr"], group["betas"], self.state[parameter]
        if beta1 != 0.0:
            raise ValueError(f"beta1 must be 0 for a parameter with sparse gradients (got {beta1})")
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["last_step"] = torch.zeros(len(parameter), device=parameter.device)
            state["square"] = torch.zeros_like(parameter)
            state["pending_decay"] = torch.ones((), device=parameter.device)
        step = state["step"].add_(1)
        pending_decay = state["pending_decay"].mul_(1.0 - lr * group["weight_decay"])

        since = step - state["last_step"][rows]
        square = state["square"].index_select(0, rows).mul_((beta2**since).unsqueeze(1))
        square.addcmul_(values, values, value=1.0 - beta2)
        state["square"].index_copy_(0, rows, square)
        state["last_step"][rows] = step
        root = square.div_(1.0 - beta2**step).sqrt_().add_(group["eps"])
        # what is stored times what is owed is the weight
        parameter.index_add_(0, rows, values.div(root).mul_(-lr / pending_decay))
        if step % DECAY_EVERY == 0:
            parameter.mul_(pending_decay)
            pending_decay.fill_(1.0)
