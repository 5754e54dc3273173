"""AdamW for large embeddings with sparse gradients."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

DECAY_EVERY = 16  # steps between two applications of the accumulated weight decay


class RowAdamW(AdamW):
    """AdamW that updates only the embedding rows that have a gradient.

    A window and its sampled softmax use a tenth of the words, but AdamW reads the whole embedding, gradient and both
    moments at every step. Here, parameters with a sparse gradient are updated by rows, all others by AdamW. The group
    of such a parameter needs beta1 = 0: without a first moment, a row without a gradient does not move, so skipping it
    is exact. Only weight decay affects every row at every step; it is accumulated in one factor (``pending_decay``)
    that is applied every ``DECAY_EVERY`` steps. At these steps the weights equal those of AdamW (Loshchilov & Hutter
    2017); in between, multiply them by ``pending_decay`` to get AdamW's.

    Args:
        params: Parameter groups. The group named ``words``, of the embedding and output rows, gets the betas
            ``(0, row_beta2)``; the group named ``biases`` gets ``(beta1, row_beta2)``.
        lr: Learning rate.
        betas: Decay rates of the first and second moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay.
        row_beta2: Second-moment decay rate of the word rows and of every bias: most words are rare, so their rows need
            a longer memory.
        fused: One kernel per step for the parameters with a dense gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        row_beta2: float = 0.999,
        fused: bool | None = None,
    ) -> None:
        if not 0.0 <= row_beta2 < 1.0:
            raise ValueError(f"row_beta2: must be in [0, 1) (got {row_beta2}); try 0.999")
        beta1, beta2 = betas
        super().__init__(params, lr, (beta1, beta2), eps, weight_decay, fused=fused)
        for group in self.param_groups:
            if group.get("name") in ("words", "biases"):
                group["betas"] = (0.0 if group["name"] == "words" else beta1, row_beta2)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the gradients; its return value is returned.

        Raises:
            ValueError: If a parameter with a sparse gradient has a beta1 other than 0.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None  # AdamW skips it
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

        steps_since = step - state["last_step"][rows]
        square = state["square"].index_select(0, rows).mul_((beta2**steps_since).unsqueeze(1))
        square.addcmul_(values, values, value=1.0 - beta2)
        state["square"].index_copy_(0, rows, square)
        state["last_step"][rows] = step
        root = square.div_(1.0 - beta2**step).sqrt_().add_(group["eps"])
        # the stored weight times pending_decay is AdamW's weight
        parameter.index_add_(0, rows, values.div(root).mul_(-lr / pending_decay))
        if step % DECAY_EVERY == 0:
            parameter.mul_(pending_decay)
            pending_decay.fill_(1.0)
