"""What a training step minimises, as a function of tensors; and the same recorded once and replayed on a GPU."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.data.streams import Window
from lstm_lm.nn.config import LossConfig, ModelConfig
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
    """Run the network over a window and score it.

    Args:
        model: The network.
        loss: Its softmax and activation regularisation.
        bptt_length: Usual length of a window.
        input_ids: (B, T), int64.
        target_ids: (B, T), int64.
        state: The state after the previous window, as ``LSTMState.tensors`` gives it; detached.

    Returns:
        The objective, a scalar to take the gradient of; the mean negative log likelihood, a scalar; the features that
        the output layer reads (B, T, H); and the tensors of the state after the window. Only the objective is attached
        to the graph.
    """
    features, after = model.features(input_ids, LSTMState.from_tensors(state))
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
    """:func:`window_objective` and its gradient as CUDA graphs, for windows of the usual length.

    A step of an LSTM is a thousand small kernels; replaying them costs the processor one call. A graph has the dropouts
    of the network built in, so that it is recorded again when they change.

    Args:
        model: The network.
        loss: Its softmax and activation regularisation.
        bptt_length: Usual length of a window; other windows run without a graph.
    """

    def __init__(self, model: LSTMLanguageModel, loss: SoftmaxLoss, bptt_length: int) -> None:
        self._parts = model, loss, bptt_length
        self._plain = functools.partial(window_objective, *self._parts)
        self._recorded: tuple[torch.Size, ModelConfig, Objective] | None = None

    def step(self, batch: Window) -> Objective:
        """What computes the objective of ``batch``."""
        model, _, bptt_length = self._parts
        shape = batch.input_ids.shape
        if batch.input_ids.device.type != "cuda" or shape[1] != bptt_length:
            return self._plain
        if self._recorded is None or self._recorded[:2] != (shape, model.config):
            self._recorded = None  # frees the memory of the old graph
            self._recorded = shape, model.config, self._record(batch)
        return self._recorded[2]

    def _record(self, batch: Window) -> Objective:
        model = self._parts[0]
        with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), False):
            # the state has the format that the LSTM runs in, as it has in all steps but the first of an epoch
            with torch.no_grad():
                state = model.features(batch.input_ids, model.initial_state(len(batch.input_ids)))[1]
            inputs = batch.input_ids.clone(), batch.target_ids.clone(), *state.detach().tensors()
            graphed: Any = torch.cuda.make_graphed_callables(_ObjectiveModule(*self._parts), inputs)

        def objective(*tensors: Tensor) -> tuple[Tensor, ...]:
            value, nll, dropped, *after = graphed(*tensors)
            # a replay writes to the same memory: what outlives the step is copied
            return value, nll.detach().clone(), dropped.detach(), *(tensor.detach().clone() for tensor in after)

        return objective


class _ObjectiveModule(nn.Module):
    """:func:`window_objective` as a module, which tells ``make_graphed_callables`` about the weights."""

    def __init__(self, model: LSTMLanguageModel, loss: SoftmaxLoss, bptt_length: int) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.bptt_length = bptt_length

    def forward(self, input_ids: Tensor, target_ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return window_objective(self.model, self.loss, self.bptt_length, input_ids, target_ids, *state)
