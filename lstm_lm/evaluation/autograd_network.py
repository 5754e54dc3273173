"""A network with gradients by autograd, for dynamic evaluation with any cell."""

import copy

import torch
from torch import Tensor

from lstm_lm.evaluation.manual_lstm import ALL_ROWS, Gradient, ScoredSegment, rows_to_update
from lstm_lm.evaluation.score import target_rank
from lstm_lm.nn.model import LSTMLanguageModel


class AutogradNetwork:
    """A copy of a network that scores segments of one stream, as ``ManualGradLSTM`` does.

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
        self._nll = torch.empty(0)
        self.reset_state()

    def reset_state(self) -> None:
        """Start a new stream."""
        self._state = self._model.initial_state(1)

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> ScoredSegment:
        """Score the next segment of the stream. The state continues from the last segment, detached.

        Args:
            input_ids: (T,), int64.
            target_ids: The word after each input (T,), int64.
        """
        features, state = self._model.features(input_ids.unsqueeze(0), self._state)
        self._state = state.detach()
        logits = self._model.logits(features[0])
        log_probabilities = logits.log_softmax(dim=1)
        self._nll = -log_probabilities.gather(1, target_ids.unsqueeze(1)).squeeze(1)
        rank = target_rank(logits.detach(), target_ids)
        # a copy, which the cache changes in place
        scored = log_probabilities.detach().clone()
        return ScoredSegment(features[0].detach(), scored, input_ids, target_ids, self._nll.detach(), rank)

    def backward(self, segment: ScoredSegment, min_count: float = 0.0) -> list[Gradient]:
        """The gradients of the last segment's mean negative log likelihood, as ``ManualGradLSTM.backward``."""
        dense = torch.autograd.grad(self._nll.mean(), self._parameters)
        rows = rows_to_update(dense[self._output_bias], segment, min_count)
        return [
            Gradient(rows, gradient[rows]) if index in self.word_matrices else Gradient(ALL_ROWS, gradient)
            for index, gradient in enumerate(dense)
        ]
