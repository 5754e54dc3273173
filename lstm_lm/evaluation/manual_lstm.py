"""An LSTM network with hand-written gradients, for dynamic evaluation of one stream.

Dynamic evaluation processes one stream, a few words at a time. Autograd and the fused LSTM kernels are slow for so few
words, because they repack 20 MB of changed weights each time. Here each time step is one matrix-vector product in each
direction, the weight gradients are one matrix product per layer, score and gradient share one softmax, and only some
rows of the output layer's gradient are computed. Buffers are allocated once.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lstm_lm.evaluation.forward import ScoredWords
from lstm_lm.nn.cells.lstm import LSTM
from lstm_lm.nn.matmul import empty_rows
from lstm_lm.nn.model import LSTMLanguageModel


class Gradient(NamedTuple):
    """The gradient of a weight tensor: of all of it, or of some rows, while that of the others is taken as 0."""

    rows: Tensor | slice
    """Words (R,), int64, ascending; or all rows."""
    values: Tensor
    """(R, H), or the shape of the weight tensor."""

    def add_to(self, total: Tensor, scale: Tensor, factor: float = 1.0) -> None:
        """``total[rows] += factor * scale * values``, in place; ``scale`` has the shape of ``values``."""
        changed = total[self.rows].addcmul_(self.values, scale, value=factor)
        if not isinstance(self.rows, slice):  # else it is a view
            total[self.rows] = changed


ALL_ROWS = slice(None)


def rows_to_update(bias_gradient: Tensor, input_ids: Tensor, target_ids: Tensor, min_count: float) -> Tensor | slice:
    """The rows of the output layer that an update changes: the words of the segment, and others it could have had.

    Args:
        bias_gradient: Gradient of the bias (V,), of the segment's mean loss: for a word that is not in the segment, how
            often per word the network expected it.
        input_ids: The word before each word of the segment (T,).
        target_ids: The words (T,).
        min_count: How often in the segment the network must have expected the others; 0 takes all rows.
    """
    if not min_count:
        return ALL_ROWS
    updated = len(target_ids) * bias_gradient.abs() >= min_count
    for word_ids in (input_ids, target_ids):
        updated[word_ids] = True
    return updated.nonzero().squeeze(1)


class ManualGradLSTM:
    """A copy of a network's weights, with forward and backward passes and no dropout.

    Args:
        model: The network, of LSTM cells. Not modified.
        window_length: Maximum number of words in a segment.
    """

    def __init__(self, model: LSTMLanguageModel, window_length: int) -> None:
        self.weights = [parameter.detach().float().clone() for parameter in model.parameters()]
        """All weights, tied ones once."""
        index_of = {id(parameter): index for index, parameter in enumerate(model.parameters())}
        self._embedding = index_of[id(model.embedding.weight)]
        self._output_weight = index_of[id(model.output_weight)]
        self._output_bias = index_of[id(model.output_bias)]
        self.word_matrices = frozenset({self._embedding, self._output_weight})
        """Indices of the weights with a row for each word, of whose gradient an update may take some rows."""
        self._gradients = [
            torch.empty(0) if index in self.word_matrices else torch.zeros_like(weight)
            for index, weight in enumerate(self.weights)
        ]
        self._layers = []
        for layer in model.layers:
            assert isinstance(layer, LSTM)
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            indices = [index_of[id(getattr(layer, name))] for name in names]
            self._layers.append(
                _Layer([self.weights[i] for i in indices], [self._gradients[i] for i in indices], window_length)
            )
        # adaptive softmax: the word range of each cluster
        self._clusters: list[slice] = []
        if model.clusters is not None:
            self._clusters = [slice(start, end) for start, end in pairwise(model.clusters.bounds)]
            self._cluster_weight = index_of[id(model.clusters.weight)]
            self._cluster_bias = index_of[id(model.clusters.bias)]
        self._cluster_log_probs = torch.empty(0)
        self._initial_state = model.initial_state(1)
        self._logits, self._probabilities = (empty_rows(window_length, model.vocab_size) for _ in range(2))
        self.reset_state()

    def reset_state(self) -> None:
        """Start a new stream."""
        for layer, (hidden, cell) in zip(self._layers, self._initial_state.layers, strict=True):
            layer.set_state(hidden[0, 0], cell[0, 0])

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> ScoredWords:
        """Score the next segment of the stream. The state continues from the last segment, detached.

        Args:
            input_ids: (T,), int64.
            target_ids: The word after each input (T,), int64.

        Returns:
            The segment; the next one overwrites its log probabilities.
        """
        count = len(input_ids)
        features = self.weights[self._embedding][input_ids]
        for layer in self._layers:
            features = layer.forward(features)
        # with a few rows, a product in this order takes about half the time
        transposed = self.weights[self._output_weight] @ features.t()
        logits = torch.add(transposed.t(), self.weights[self._output_bias], out=self._logits[:count])
        if self._clusters:  # as in TailClusters
            weight, bias = self.weights[self._cluster_weight], self.weights[self._cluster_bias]
            cluster_logits = torch.addmm(bias, features, weight.t())
            for index, words in enumerate(self._clusters):
                shift = cluster_logits[:, index : index + 1] - logits[:, words].logsumexp(dim=1, keepdim=True)
                logits[:, words] += shift
        # log-softmax in place
        highest = logits.amax(dim=1, keepdim=True)
        logits -= highest
        probabilities = torch.exp(logits, out=self._probabilities[:count])
        total = probabilities.sum(dim=1, keepdim=True)
        probabilities /= total
        logits -= total.log()
        if self._clusters:
            self._cluster_log_probs = cluster_logits - (highest + total.log())
        self._input_ids, self._segment = input_ids, ScoredWords(features, logits, target_ids)
        return self._segment

    def backward(self, min_count: float = 0.0) -> list[Gradient]:
        """Compute the gradients of the last segment's mean negative log likelihood.

        Args:
            min_count: As in :func:`rows_to_update`.

        Returns:
            A gradient for each of ``weights``; buffers that the next call overwrites.
        """
        input_ids, segment = self._input_ids, self._segment
        count = len(input_ids)
        grad_logits = self._probabilities[:count]
        grad_logits[torch.arange(count), segment.target_ids] -= 1.0
        grad_logits /= count
        grad_clusters = self._clusters_backward(grad_logits, segment.features) if self._clusters else None
        bias_gradient = torch.sum(grad_logits, dim=0, out=self._gradients[self._output_bias])
        # all words: the rare ones add up. The product in this order takes half the time, as in the forward pass
        grad_features = (self.weights[self._output_weight].t() @ grad_logits.t()).t().contiguous()
        if grad_clusters is not None:
            grad_features.addmm_(grad_clusters, self.weights[self._cluster_weight])
        for layer in reversed(self._layers):
            grad_features = layer.backward(grad_features)
        gradients = [Gradient(ALL_ROWS, gradient) for gradient in self._gradients]
        rows = rows_to_update(bias_gradient, input_ids, segment.target_ids, min_count)
        gradients[self._output_weight] = Gradient(rows, grad_logits[:, rows].t() @ segment.features)
        if self._embedding != self._output_weight:
            rows = torch.unique(input_ids)
            gradients[self._embedding] = Gradient(rows, grad_features.new_zeros(len(rows), grad_features.shape[1]))
        positions = input_ids if isinstance(rows, slice) else torch.searchsorted(rows, input_ids)
        gradients[self._embedding].values.index_add_(0, positions, grad_features)
        return gradients

    def _clusters_backward(self, grad_logits: Tensor, features: Tensor) -> Tensor:
        """Backpropagate through the adaptive softmax.

        Args:
            grad_logits: Gradient of the logits (T, V) after the clusters' normalization. Becomes, in place, the
                gradient of the output layer's logits.
            features: Features of the segment (T, H).

        Returns:
            Gradient of the cluster logits (T, K). The gradients of the cluster weights are stored in ``_gradients``.
        """
        grad_clusters = torch.empty_like(self._cluster_log_probs)
        for index, words in enumerate(self._clusters):
            grad_words = grad_logits[:, words]
            torch.sum(grad_words, dim=1, out=grad_clusters[:, index])
            log_probs = self._logits[: len(grad_logits), words]
            within_cluster = (log_probs - self._cluster_log_probs[:, index : index + 1]).exp_()
            grad_words -= within_cluster.mul_(grad_clusters[:, index : index + 1])
        torch.mm(grad_clusters.t(), features, out=self._gradients[self._cluster_weight])
        torch.sum(grad_clusters, dim=0, out=self._gradients[self._cluster_bias])
        return grad_clusters


class _Layer:
    """One LSTM layer for one stream.

    Gates are named and ordered as in ``torch.nn.LSTM``: input i, forget f, cell g, output o. The state follows from
    c' = f * c + i * g and h' = o * tanh(c').

    Args:
        weights: Input-to-hidden (4H, E), hidden-to-hidden (4H, H) and the two biases (4H,).
        gradients: Buffers for their gradients, of the same shapes.
        window_length: Maximum number of steps in a segment.
    """

    def __init__(self, weights: list[Tensor], gradients: list[Tensor], window_length: int) -> None:
        self._weights = weights
        self._gradients = gradients
        hidden_dim = weights[1].shape[1]
        # row 0 is the state before the segment
        self._hidden = torch.zeros(window_length + 1, hidden_dim)
        self._cell = torch.zeros_like(self._hidden)
        self._num_steps = 0
        self._gates = torch.empty(window_length, 4 * hidden_dim)
        self._tanh_cell = torch.empty(window_length, hidden_dim)
        self._input = torch.empty(0)

    def set_state(self, hidden: Tensor, cell: Tensor) -> None:
        self._num_steps = 0
        self._hidden[0], self._cell[0] = hidden, cell

    def forward(self, features: Tensor) -> Tensor:
        """Map inputs (T, E) to hidden states (T, H)."""
        weight_input, weight_hidden, bias_input, bias_hidden = self._weights
        self._input = features
        steps = len(features)
        hidden, cell = self._hidden, self._cell
        hidden[0], cell[0] = hidden[self._num_steps].clone(), cell[self._num_steps].clone()
        self._num_steps = steps
        gates = torch.addmm(bias_input + bias_hidden, features, weight_input.t(), out=self._gates[:steps])
        width = hidden.shape[1]
        for step in range(steps):
            row = gates[step].addmv_(weight_hidden, hidden[step])
            row[: 2 * width].sigmoid_()
            row[2 * width : 3 * width].tanh_()
            row[3 * width :].sigmoid_()
            i, f, g, o = row.view(4, width)
            torch.mul(f, cell[step], out=cell[step + 1]).addcmul_(i, g)
            torch.tanh(cell[step + 1], out=self._tanh_cell[step])
            torch.mul(o, self._tanh_cell[step], out=hidden[step + 1])
        return hidden[1 : steps + 1].clone()

    def backward(self, grad_output: Tensor) -> Tensor:
        """Map the gradient of the hidden states (T, H) to that of the inputs (T, E), and fill the weight gradients."""
        weight_input, weight_hidden, *_ = self._weights
        steps, width = grad_output.shape
        i, f, g, o = self._gates[:steps].view(steps, 4, width).unbind(1)
        tanh_cell, previous_cell = self._tanh_cell[:steps], self._cell[:steps]
        # local derivatives, which do not depend on later steps: of h' by c', of c' by the inputs of i, f and g, and of
        # h' by the input of o
        dh_dc = o * (1.0 - tanh_cell.square())
        dc_difg = torch.stack([g * i * (1.0 - i), previous_cell * f * (1.0 - f), i * (1.0 - g.square())], dim=1)
        dh_do = tanh_cell * o * (1.0 - o)
        grad_gates = torch.empty(steps, 4, width)
        grad_hidden, grad_cell = grad_output[steps - 1], torch.zeros(width)
        recurrent = weight_hidden.t()
        for step in range(steps - 1, -1, -1):
            grad_cell.addcmul_(grad_hidden, dh_dc[step])
            torch.mul(dc_difg[step], grad_cell, out=grad_gates[step, :3])
            torch.mul(dh_do[step], grad_hidden, out=grad_gates[step, 3])
            if step > 0:
                grad_hidden = torch.addmv(grad_output[step - 1], recurrent, grad_gates[step].view(-1))
                grad_cell *= f[step]
        flat_gates = grad_gates.view(steps, -1)
        torch.mm(flat_gates.t(), self._input, out=self._gradients[0])
        torch.mm(flat_gates.t(), self._hidden[:steps], out=self._gradients[1])
        torch.sum(flat_gates, dim=0, out=self._gradients[2])
        self._gradients[3].copy_(self._gradients[2])
        return flat_gates @ weight_input
