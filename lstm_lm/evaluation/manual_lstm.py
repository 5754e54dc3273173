"""A copy of a network that learns while it is scored: forward, exact softmax and gradient of one stream.

Dynamic evaluation reads one stream, a few dozen words at a time. So few words make autograd and the fused LSTM kernels
slow: they repack 20 MB of weights that change each time. Here the time loop does one matrix-vector product a step in
either direction, the gradients of the weights are one matrix product a layer, one softmax serves score and gradient,
and the gradient of tied weights is written once. All buffers are made once.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lstm_lm.evaluation.score import target_rank
from lstm_lm.nn.lstm import WeightDropLSTM
from lstm_lm.nn.model import LSTMLanguageModel


@dataclass(frozen=True)
class ScoredSegment:
    """A segment of T words, before the weights learn from it.

    Attributes:
        features: Before every word (T, H).
        log_probabilities: Of every word of the vocabulary (T, V); a buffer that the next segment overwrites.
        target_ids: The words (T,).
        nll: Their negative log likelihood in nats (T,).
        rank: Their ranks, as ``target_rank`` gives them (T,).
    """

    features: Tensor
    log_probabilities: Tensor
    target_ids: Tensor
    nll: Tensor
    rank: Tensor


class ManualGradLSTM:
    """The weights of a network, to be changed; the network itself is only read, and dropout is off.

    Args:
        model: The network.
        window_length: Most words of a segment.

    Attributes:
        weights: Every weight, tied ones once.
        gradients: What :meth:`backward` found last, in the same order.
    """

    def __init__(self, model: LSTMLanguageModel, window_length: int) -> None:
        self.weights = [parameter.detach().float().clone() for parameter in model.parameters()]
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]
        position = {id(parameter): index for index, parameter in enumerate(model.parameters())}
        self._embedding = position[id(model.embedding.weight)]
        self._output_weight = position[id(model.output_weight)]
        self._output_bias = position[id(model.output_bias)]
        self._layers = []
        for layer in model.layers:
            assert isinstance(layer, WeightDropLSTM)
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            positions = [position[id(getattr(layer, name))] for name in names]
            self._layers.append(
                _Layer([self.weights[i] for i in positions], [self.gradients[i] for i in positions], window_length)
            )
        # of a split softmax: the words of each cluster, and the place of the clusters' own weights
        self._clusters: list[slice] = []
        if model.clusters is not None:
            self._clusters = [slice(start, end) for start, end in pairwise(model.clusters.bounds)]
            self._cluster_weight = position[id(model.clusters.weight)]
            self._cluster_bias = position[id(model.clusters.bias)]
        self._log_reached = torch.empty(0)
        self._start = model.initial_state(1)
        self._logits = torch.empty(window_length, model.vocab_size)
        self._probabilities = torch.empty_like(self._logits)
        self._input_ids = torch.empty(0, dtype=torch.int64)
        self.reset_state()

    def reset_state(self) -> None:
        """Begin a new stream."""
        for layer, hidden, cell in zip(self._layers, self._start.hidden, self._start.cell, strict=True):
            layer.start(hidden[0, 0], cell[0, 0])

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> ScoredSegment:
        """Read and score the next segment of the stream; the state goes on from the last one, cut off from it.

        Args:
            input_ids: (T,), int64.
            target_ids: The word after each (T,), int64.
        """
        count = len(input_ids)
        self._input_ids = input_ids
        features = self.weights[self._embedding][input_ids]
        for layer in self._layers:
            features = layer.forward(features)
        logits = torch.addmm(
            self.weights[self._output_bias],
            features,
            self.weights[self._output_weight].t(),
            out=self._logits[:count],
        )
        if self._clusters:  # as TailClusters does it
            weight, bias = self.weights[self._cluster_weight], self.weights[self._cluster_bias]
            self._log_reached = torch.addmm(bias, features, weight.t())
            for index, words in enumerate(self._clusters):
                moved = self._log_reached[:, index : index + 1] - logits[:, words].logsumexp(dim=1, keepdim=True)
                logits[:, words] += moved
        rank = target_rank(logits, target_ids)
        # log-softmax in place: the maximum first, so that no exponential overflows
        highest = logits.amax(dim=1, keepdim=True)
        logits -= highest
        probabilities = torch.exp(logits, out=self._probabilities[:count])
        total = probabilities.sum(dim=1, keepdim=True)
        probabilities /= total
        logits -= total.log()
        if self._clusters:
            self._log_reached -= highest + total.log()
        nll = -logits.gather(1, target_ids.unsqueeze(1)).squeeze(1)
        return ScoredSegment(features, logits, target_ids, nll, rank)

    def backward(self, segment: ScoredSegment) -> None:
        """Put the gradient of the segment's mean negative log likelihood into ``gradients``."""
        count = len(segment.target_ids)
        errors = self._probabilities[:count]
        errors[torch.arange(count), segment.target_ids] -= 1.0
        errors /= count
        reached = self._through_clusters(errors, segment) if self._clusters else None
        torch.sum(errors, dim=0, out=self.gradients[self._output_bias])
        upstream = errors @ self.weights[self._output_weight]
        if reached is not None:
            upstream.addmm_(reached, self.weights[self._cluster_weight])
        for layer in reversed(self._layers):
            upstream = layer.backward(upstream)
        torch.mm(errors.t(), segment.features, out=self.gradients[self._output_weight])
        if self._embedding != self._output_weight:
            self.gradients[self._embedding].zero_()
        self.gradients[self._embedding].index_add_(0, self._input_ids, upstream)

    def _through_clusters(self, errors: Tensor, segment: ScoredSegment) -> Tensor:
        """From the gradient of the log probabilities' logits to that of the output layer's, in place.

        Returns:
            The gradient of the clusters' logits (T, K); that of their weights is put into ``gradients``.
        """
        reached = torch.empty_like(self._log_reached)
        for index, words in enumerate(self._clusters):
            of_words = errors[:, words]
            torch.sum(of_words, dim=1, out=reached[:, index])
            within = (self._logits[: len(errors), words] - self._log_reached[:, index : index + 1]).exp_()
            of_words -= within.mul_(reached[:, index : index + 1])
        torch.mm(reached.t(), segment.features, out=self.gradients[self._cluster_weight])
        torch.sum(reached, dim=0, out=self.gradients[self._cluster_bias])
        return reached


class _Layer:
    """One LSTM layer for one stream; gates in the order of torch: input, forget, candidate, output.

    Args:
        weights: Input-to-hidden (4H, E), hidden-to-hidden (4H, H) and the two biases (4H,).
        gradients: Where their gradients go, the same shapes.
        window_length: Most steps of a segment.
    """

    def __init__(self, weights: list[Tensor], gradients: list[Tensor], window_length: int) -> None:
        self._weights = weights
        self._gradients = gradients
        hidden_dim = weights[1].shape[1]
        # row 0 is the state that the segment begins with
        self._hidden = torch.zeros(window_length + 1, hidden_dim)
        self._cell = torch.zeros_like(self._hidden)
        self._last = 0
        self._gates = torch.empty(window_length, 4 * hidden_dim)
        self._tanh_cell = torch.empty(window_length, hidden_dim)
        self._input = torch.empty(0)

    def start(self, hidden: Tensor, cell: Tensor) -> None:
        self._last = 0
        self._hidden[0], self._cell[0] = hidden, cell

    def forward(self, features: Tensor) -> Tensor:
        """Features (T, E) to hidden states (T, H)."""
        weight_input, weight_hidden, bias_input, bias_hidden = self._weights
        self._input = features
        steps = len(features)
        hidden, cell = self._hidden, self._cell
        hidden[0], cell[0] = hidden[self._last].clone(), cell[self._last].clone()
        self._last = steps
        gates = torch.addmm(bias_input + bias_hidden, features, weight_input.t(), out=self._gates[:steps])
        width = hidden.shape[1]
        for step in range(steps):
            row = gates[step].addmv_(weight_hidden, hidden[step])
            row[: 2 * width].sigmoid_()
            row[2 * width : 3 * width].tanh_()
            row[3 * width :].sigmoid_()
            take, keep, candidate, give = row.view(4, width)
            torch.mul(keep, cell[step], out=cell[step + 1]).addcmul_(take, candidate)
            torch.tanh(cell[step + 1], out=self._tanh_cell[step])
            torch.mul(give, self._tanh_cell[step], out=hidden[step + 1])
        return hidden[1 : steps + 1].clone()

    def backward(self, upstream: Tensor) -> Tensor:
        """Gradient of the hidden states (T, H) to that of the features (T, E); fills the weights' gradients."""
        weight_input, weight_hidden, *_ = self._weights
        steps, width = upstream.shape
        take, keep, candidate, give = self._gates[:steps].view(steps, 4, width).unbind(1)
        tanh_cell, before = self._tanh_cell[:steps], self._cell[:steps]
        # what does not depend on later steps, for all steps at one time
        through_cell = give * (1.0 - tanh_cell.square())
        slopes = torch.stack(
            [candidate * take * (1.0 - take), before * keep * (1.0 - keep), take * (1.0 - candidate.square())], dim=1
        )
        slope_give = tanh_cell * give * (1.0 - give)
        grad_gates = torch.empty(steps, 4, width)
        grad_hidden, grad_cell = upstream[steps - 1], torch.zeros(width)
        recurrent = weight_hidden.t()
        for step in range(steps - 1, -1, -1):
            grad_cell.addcmul_(grad_hidden, through_cell[step])
            torch.mul(slopes[step], grad_cell, out=grad_gates[step, :3])
            torch.mul(slope_give[step], grad_hidden, out=grad_gates[step, 3])
            if step > 0:
                grad_hidden = torch.addmv(upstream[step - 1], recurrent, grad_gates[step].view(-1))
                grad_cell *= keep[step]
        errors = grad_gates.view(steps, -1)
        torch.mm(errors.t(), self._input, out=self._gradients[0])
        torch.mm(errors.t(), self._hidden[:steps], out=self._gradients[1])
        torch.sum(errors, dim=0, out=self._gradients[2])
        self._gradients[3].copy_(self._gradients[2])
        return errors @ weight_input
