"""The network's distributions over a stream, a chunk of words at a time, with fixed weights or dynamic evaluation."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.data.encoding import Ids
from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import DynamicEvaluator, GradientRMS
from lstm_lm.evaluation.forward import ScoredWords, eval_mode, stream_features
from lstm_lm.evaluation.score import chunks
from lstm_lm.nn.model import LSTMLanguageModel

NETWORK_SIGNALS = ("network_entropy", "network_best")
"""Names of :func:`network_signals`."""
_BLOCK = 2048
_GPU_BLOCK = 16_384  # a search of the neighbours takes the same number of kernels for any number of words


def block_length(device: torch.device) -> int:
    """Words whose features are announced together; a multiple of the length of ``chunks``."""
    return _BLOCK if device.type == "cpu" else _GPU_BLOCK


def network_signals(log_probabilities: Tensor) -> Tensor:
    """Entropy and largest log probability (n, 2) of the network's distributions (n, V)."""
    entropy = -(log_probabilities.exp() * log_probabilities).nan_to_num_().sum(dim=1)
    return torch.stack([entropy, log_probabilities.amax(dim=1)], dim=1)


def network_chunks(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    rms: GradientRMS | None,
    announce: bool,
) -> Iterator[tuple[Tensor | None, ScoredWords]]:
    """Score a stream with the network, with fixed weights or with dynamic evaluation.

    Args:
        model: The network. Not modified.
        ids: The stream (N,).
        eos_id: The token before the first.
        config: Segment length of dynamic evaluation.
        settings: ``lr`` and ``decay`` of dynamic evaluation.
        rms: For dynamic evaluation; ``None`` keeps the weights fixed.
        announce: Whether to give the features of each block in advance.

    Yields:
        Each chunk. Where a block of words begins, also the features of all its words by the trained weights, if they
        are to be announced.

    Raises:
        DataError: If the stream is empty.
        EvaluationError: If the weights diverge.
    """
    length = block_length(model.device)
    if rms is None:
        with eval_mode(model):
            for block, words in stream_features(model, ids, length, eos_id):
                announced = block if announce else None
                for features, target_ids in chunks(block, words):
                    log_probabilities = F.log_softmax(model.logits(features), dim=1)
                    yield announced, ScoredWords(features, log_probabilities, target_ids)
                    announced = None
        return
    evaluator = DynamicEvaluator(model, rms, config.words_per_window)
    length = evaluator.words_per_chunk * max(1, length // evaluator.words_per_chunk)
    blocks = stream_features(model, ids, length, eos_id) if announce else None
    done = 0
    for chunk in evaluator.score_stream(ids, eos_id, settings["lr"], settings["decay"]):
        announced = None
        if blocks is not None and done % length == 0:
            with eval_mode(model):
                announced, _ = next(blocks)
        done += len(chunk.target_ids)
        if not bool(chunk.target_log_probs.isfinite().all()):
            raise EvaluationError(
                f"the weights diverged after {done:,} of {len(ids):,} tokens; lower evaluation.lr (got "
                f"{settings['lr']:g}), or set tune=true"
            )
        yield announced, chunk
