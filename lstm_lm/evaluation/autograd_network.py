"""A network with gradients by autograd, for dynamic evaluation with any cell."""

import copy

import torch
from torch import Tensor

from lstm_lm.evaluation.forward import ScoredWords
from lstm_lm.evaluation.manual_lstm import ALL_ROWS, Gradient, rows_to_update
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState


class AutogradNetwork:
    """A copy of a network that scores segments of one stream, as ``ManualGradLSTM`` does.

    Weights and state stay where they are in memory, so that :meth:`forward` and :meth:`backward` can be captured as a
    CUDA graph.

    Args:
        model: The network. Not modified.
    """

    def __init__(self, model: LSTMLanguageModel) -> None:
        self._model = copy.deepcopy(model).float().eval()
        self._parameters = list(self._model.parameters())
        self.weights = [parameter.detach() for parameter in self._parameters]
        """All weights, tied ones once."""
        index_of = {id(parameter): index for index, parameter in enumerate(self._parameters)}
        self._output_bias = index_of[id(self._model.output_bias)]
        self.word_matrices = frozenset(
            index_of[id(matrix)] for matrix in (self._model.embedding.weight, self._model.output_weight)
        )
        """Indices of the weights with a row for each word, of whose gradient an update may take some rows."""
        self._input_ids = self._target_ids = self._nll = torch.empty(0)
        self._state = self._model.initial_state(1).map(Tensor.clone)

    def reset_state(self) -> None:
        """Start a new stream."""
        self._set_state(self._model.initial_state(1))

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> ScoredWords:
        """Score the next segment of the stream. The state continues from the last segment, detached.

        Args:
            input_ids: (T,), int64.
            target_ids: The word after each input (T,), int64.
        """
        self._input_ids, self._target_ids = input_ids, target_ids
        # the backward pass needs the state before the segment
        features, state = self._model.features(input_ids.unsqueeze(0), self._state.map(Tensor.clone))
        self._set_state(state.detach())
        log_probabilities = self._model.logits(features[0]).log_softmax(dim=1)
        self._nll = -log_probabilities.gather(1, target_ids.unsqueeze(1)).squeeze(1)
        return ScoredWords(features[0].detach(), log_probabilities.detach(), target_ids)

    def backward(self, min_count: float = 0.0) -> list[Gradient]:
        """The gradients of the last segment's mean negative log likelihood, as ``ManualGradLSTM.backward``."""
        dense = torch.autograd.grad(self._nll.mean(), self._parameters)
        rows = rows_to_update(dense[self._output_bias], self._input_ids, self._target_ids, min_count)
        return [
            Gradient(rows, gradient[rows]) if index in self.word_matrices else Gradient(ALL_ROWS, gradient)
            for index, gradient in enumerate(dense)
        ]

    def _set_state(self, state: LSTMState) -> None:
        for mine, tensor in zip(self._state.tensors(), state.tensors(), strict=True):
            mine.copy_(tensor)
