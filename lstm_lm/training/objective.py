"""The training objective of a window, as a function of tensors and as CUDA graphs."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.data.streams import Window
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.nn.device import ignore_stream_warning
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState

Objective = Callable[..., tuple[Tensor, ...]]


def window_objective(
    model: LSTMLanguageModel,
    loss: SoftmaxLoss,
    bptt_length: int,
    input_ids: Tensor,
    target_ids: Tensor,
    *state: Tensor,
) -> tuple[Tensor, ...]:
    """Run the network over a window and compute the training objective.

    Args:
        model: The network.
        loss: Its softmax and activation regularization.
        bptt_length: Nominal window length.
        input_ids: (B, T), int64.
        target_ids: (B, T), int64.
        state: ``LSTMState.tensors`` of the state after the previous window, detached.

    Returns:
        The objective, a scalar; the mean negative log likelihood, a scalar; the features that the output layer reads
        (B, T, H); and the tensors of the state after the window. Only the objective is attached to the graph.
    """
    features, after = model.features(input_ids, LSTMState.from_tensors(state, len(model.layers)))
    dropped = model.output_dropout(features)
    nll = loss(dropped.flatten(0, 1), model.output_weight, model.output_bias, target_ids.flatten(), model.clusters)
    objective = nll + activation_penalty(loss.config, features, dropped)
    # the gradient is a mean over the window's tokens: a short window must not move the weights as far as a long one
    # (Merity et al. 2017 §4.1)
    objective = objective * (target_ids.shape[1] / bptt_length)
    return objective, nll.detach(), dropped.detach(), *after.detach().tensors()


def activation_penalty(config: LossConfig, features: Tensor, dropped: Tensor) -> Tensor:
    """AR and TAR (Merity et al. 2017 §4.6): small activations, and small changes of them."""
    penalty = features.new_zeros(())
    if config.activation_reg > 0.0:
        penalty = penalty + config.activation_reg * dropped.square().mean()
    if config.temporal_activation_reg > 0.0 and features.shape[1] > 1:
        change = features[:, 1:] - features[:, :-1]
        penalty = penalty + config.temporal_activation_reg * change.square().mean()
    return penalty


class GraphedObjective:
    """:func:`window_objective` and its gradient as CUDA graphs, for windows of the nominal length.

    A step launches many small kernels; a graph replays all of them with one call. The dropouts are constants of the
    graph, so a change of dropouts captures a new one.

    Args:
        model: The network.
        loss: Its softmax and activation regularization.
        bptt_length: Nominal window length; other windows run without a graph.
    """

    def __init__(self, model: LSTMLanguageModel, loss: SoftmaxLoss, bptt_length: int) -> None:
        self._parts = model, loss, bptt_length
        self._plain = functools.partial(window_objective, *self._parts)
        self._captured: tuple[torch.Size, ModelConfig, Objective] | None = None

    def step(self, batch: Window) -> Objective:
        """The function that computes the objective of ``batch``."""
        model, _, bptt_length = self._parts
        shape = batch.input_ids.shape
        if batch.input_ids.device.type != "cuda" or shape[1] != bptt_length:
            return self._plain
        if self._captured is None or self._captured[:2] != (shape, model.config):
            self._captured = None  # frees the memory of the old graph
            self._captured = shape, model.config, self._capture(batch)
        return self._captured[2]

    def _capture(self, batch: Window) -> Objective:
        ignore_stream_warning()
        model = self._parts[0]
        with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), False):
            # capture with the dtype that the state has in all steps but the first of an epoch
            with torch.no_grad():
                state = model.features(batch.input_ids, model.initial_state(len(batch.input_ids)))[1]
            inputs = batch.input_ids.clone(), batch.target_ids.clone(), *state.detach().tensors()
            graphed: Any = torch.cuda.make_graphed_callables(_ObjectiveModule(*self._parts), inputs)

        def objective(*tensors: Tensor) -> tuple[Tensor, ...]:
            value, nll, dropped, *after = graphed(*tensors)
            # every replay writes to the same memory: copy what outlives the step
            return value, nll.detach().clone(), dropped.detach(), *(tensor.detach().clone() for tensor in after)

        return objective


class _ObjectiveModule(nn.Module):
    """:func:`window_objective` as a module: ``make_graphed_callables`` needs to know the weights."""

    def __init__(self, model: LSTMLanguageModel, loss: SoftmaxLoss, bptt_length: int) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.bptt_length = bptt_length

    def forward(self, input_ids: Tensor, target_ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return window_objective(self.model, self.loss, self.bptt_length, input_ids, target_ids, *state)
