"""The network: embedding, recurrent layers, output layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lstm_lm.nn.cells import cell_class, cell_options
from lstm_lm.nn.cells.base import Cell
from lstm_lm.nn.clusters import INIT_RANGE, TailClusters
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.dropout import LockedDropout, dropout_mask
from lstm_lm.nn.matmul import empty_rows, write_logits
from lstm_lm.nn.state import LSTMState

WORD_PARAMETERS = frozenset({"embedding.weight", "untied_output_weight", "output_bias"})
"""The parameters with a row for each word."""
# root mean square of the initial word vectors; after 0.41 epochs of WikiText-2 valid perplexity was 245, 218, 200 and
# 196 with 0.06, 0.12, 0.23 and 0.46
_VECTOR_RMS = 0.25


class LSTMLanguageModel(nn.Module):
    """A word-level LSTM language model with the regularization of AWD-LSTM (Merity et al. 2017).

    Args:
        config: Cell, sizes and dropouts.
        vocab_size: Number of words V.

    Raises:
        ValueError: If ``config`` is invalid.
        CellNotImportedError: If its cell is from outside the package and not imported.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        if problems := config.problems():
            raise ValueError("; ".join(problems))
        self.config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.embedding_dim)
        self.input_dropout = LockedDropout(config.input_dropout)
        self.cell, options = cell_class(config.cell), cell_options(config.cell, config.cell_options)
        self.layers = nn.ModuleList(
            self.cell(input_dim, hidden_dim, config.weight_dropout, options)
            for input_dim, hidden_dim in zip(
                [config.embedding_dim, *config.hidden_dims[:-1]], config.hidden_dims, strict=True
            )
        )
        self.hidden_dropout = LockedDropout(config.hidden_dropout)
        self.output_dropout = LockedDropout(config.output_dropout)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.untied_output_weight: nn.Parameter | None = None
        if not config.tie_weights:
            self.untied_output_weight = nn.Parameter(torch.empty(vocab_size, config.hidden_dims[-1]))
            nn.init.uniform_(self.untied_output_weight, -INIT_RANGE, INIT_RANGE)
        nn.init.uniform_(self.embedding.weight, -INIT_RANGE, INIT_RANGE)
        bounds = config.cluster_bounds(vocab_size)
        self.clusters = TailClusters(bounds, config.hidden_dims[-1]) if len(bounds) > 1 else None

    @property
    def num_parameters(self) -> int:
        """Number of weights; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.output_bias.device

    @property
    def output_weight(self) -> Tensor:
        """Weights of the output layer (V, H of the last layer): the embedding itself when tied."""
        return self.embedding.weight if self.untied_output_weight is None else self.untied_output_weight

    def initial_state(self, batch_size: int) -> LSTMState:
        """The state before the first word: zeros.

        Args:
            batch_size: Number of streams B.
        """
        weight = self.output_bias
        zeros = [weight.new_zeros(1, batch_size, dim) for dim in self.config.hidden_dims]
        return LSTMState(tuple((zero,) * len(self.cell.state_names) for zero in zeros))

    def set_dropouts(self, config: ModelConfig) -> None:
        """Set the dropouts to those of ``config``; may be called during training.

        Raises:
            ValueError: If ``config`` is invalid.
        """
        if problems := config.problems():
            raise ValueError("; ".join(problems))
        self.config = config
        self.input_dropout.probability = config.input_dropout
        self.hidden_dropout.probability = config.hidden_dropout
        self.output_dropout.probability = config.output_dropout
        for layer in self.layers:
            assert isinstance(layer, Cell)
            layer.weight_dropout = config.weight_dropout

    def init_bias_from_unigrams(self, counts: Tensor) -> None:
        """Set the output bias to the log frequency of each word, so that training starts from the unigram model.

        Args:
            counts: Number of occurrences of each word in train (V,); 0 counts as 1.
        """
        counts = counts.clamp(min=1).to(torch.float64)
        probs = counts / counts.sum()
        with torch.no_grad():
            self.output_bias.copy_(probs.log())
        if self.clusters is not None:
            self.clusters.init_bias_from_unigrams(probs)

    def init_embedding(self, vectors: Tensor) -> None:
        """Set the embedding to word vectors, scaled to a root mean square of 0.25; if tied, the output layer too.

        Args:
            vectors: (V, E), mean square 1.
        """
        with torch.no_grad():
            self.embedding.weight.copy_(vectors * _VECTOR_RMS)

    def copy_weights(self, source: "LSTMLanguageModel", ids: Tensor, source_ids: Tensor, same_vocabulary: bool) -> None:
        """Copy the weights of another network of the same sizes.

        Args:
            source: The other network.
            ids: Words whose embedding and output row are copied (N,).
            source_ids: Their ids in the other network (N,).
            same_vocabulary: Copy the clusters of an adaptive softmax too; they belong to a vocabulary.
        """
        of_source = dict(source.named_parameters())
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name in WORD_PARAMETERS:
                    parameter[ids] = of_source[name][source_ids]
                elif same_vocabulary or not name.startswith("clusters."):
                    parameter.copy_(of_source[name])

    def features(self, input_ids: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Run the recurrent layers over a window; the caller applies output dropout and the output layer.

        Args:
            input_ids: Word ids, shape (B, T), int64, each in [0, V).
            state: State after the previous window, tensors (1, B, H). Not modified.

        Returns:
            Hidden features of the last layer (B, T, H) and the state after step T, both attached to the graph: the
            caller detaches.

        Raises:
            ValueError: If the batch sizes of ``state`` and ``input_ids`` differ.
        """
        if state.batch_size != input_ids.shape[0]:
            raise ValueError(f"state is for a batch of {state.batch_size}, input_ids for {input_ids.shape[0]}")
        # with tied weights the output layer gives the embedding a dense gradient: adding sparse rows to it in place
        # saves two passes over V x E numbers
        sparse = self.config.tie_weights and input_ids.device.type == "cpu"
        features = F.embedding(input_ids, self.embedding.weight, sparse=sparse)
        if self.training and self.config.embedding_dropout > 0.0:
            # one factor per word: a masked copy of the embedding would cost V x E per window
            kept = dropout_mask((self.vocab_size,), self.config.embedding_dropout, features)
            features = features * F.embedding(input_ids, kept.unsqueeze(1))
        features = self.input_dropout(features)
        after = []
        for depth, (layer, before) in enumerate(zip(self.layers, state.layers, strict=True)):
            if depth > 0:
                features = self.hidden_dropout(features)
            features, layer_state = layer(features, before)
            after.append(layer_state)
        return features, LSTMState(tuple(after))

    def logits(self, features: Tensor) -> Tensor:
        """Apply the output layer.

        Args:
            features: (..., H of the last layer).

        Returns:
            Unnormalized log probabilities of all words (..., V): their softmax over V is the model's distribution for
            every training loss.
        """
        weight, bias = self.output_weight, self.output_bias
        if torch.is_grad_enabled() or features.device.type != "cpu" or features.dtype != torch.float32:
            logits = F.linear(features, weight, bias)
        else:
            rows = features.reshape(-1, features.shape[-1])
            logits = empty_rows(len(rows), self.vocab_size)
            write_logits(logits, rows, weight, bias)
            logits = logits.view(*features.shape[:-1], self.vocab_size)
        return logits if self.clusters is None else self.clusters(features, logits)

    def forward(self, input_ids: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Compute the logits of the next word at every step of a window.

        Args:
            input_ids: Word ids, shape (B, T), int64, each in [0, V).
            state: State after the previous window. Not modified.

        Returns:
            Logits (B, T, V) and the state after step T.

        Raises:
            ValueError: If the batch sizes of ``state`` and ``input_ids`` differ.
        """
        features, state = self.features(input_ids, state)
        return self.logits(self.output_dropout(features)), state
