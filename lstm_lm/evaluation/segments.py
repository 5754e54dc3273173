"""The network's distributions over a stream, one segment at a time, with fixed weights or dynamic evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.data.encoding import Ids
from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import DynamicEvaluator, GradientRMS
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.score import chunks
from lstm_lm.nn.model import LSTMLanguageModel

NETWORK_SIGNALS = ("network_entropy", "network_best")
"""Names of the signals of :func:`summarize`."""
_BLOCK = 2048
_GPU_BLOCK = 16_384  # a search of the neighbours takes the same number of kernels for any number of words


def block_length(device: torch.device) -> int:
    """Words whose features are announced together; a multiple of the length of ``chunks``."""
    return _BLOCK if device.type == "cpu" else _GPU_BLOCK


def summarize(log_probabilities: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the mixture needs of the network's distributions (n, V).

    Returns:
        Log probabilities of the targets (n,), and the signals (n, 2): entropy and largest log probability.
    """
    entropy = -(log_probabilities.exp() * log_probabilities).nan_to_num_().sum(dim=1)
    signals = torch.stack([entropy, log_probabilities.amax(dim=1)], dim=1)
    return log_probabilities.gather(1, target_ids.unsqueeze(1)).squeeze(1), signals


@dataclass(frozen=True)
class Segment:
    """n words with the network's view of them."""

    features: Tensor
    """Features before every word (n, H)."""
    log_probabilities: Tensor
    """(n, V); may be overwritten, and the next segment may overwrite it."""
    target_ids: Tensor
    """(n,)"""


def network_segments(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    rms: GradientRMS | None,
    announce: bool,
) -> Iterator[tuple[Tensor | None, Segment]]:
    """Score a stream with the network, with fixed weights or with dynamic evaluation.

    Args:
        model: The network. Not modified.
        ids: The stream (N,).
        eos_id: The token before the first.
        config: Whether the weights are updated, and the segment length of the updates.
        settings: ``lr`` and ``decay`` of dynamic evaluation.
        rms: For dynamic evaluation; ``None`` keeps the weights fixed.
        announce: Whether to give the features of each block in advance.

    Yields:
        Each segment. Where a block of words begins, also the features of all its words by the trained weights, if they
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
                    yield announced, Segment(features, log_probabilities, target_ids)
                    announced = None
        return
    evaluator = DynamicEvaluator(model, rms, config.window_length)
    # whole segments: a segment never spans two blocks
    length = config.window_length * max(1, length // config.window_length)
    blocks = stream_features(model, ids, length, eos_id) if announce else None
    done = 0
    for scored in evaluator.score_segments(ids, eos_id, settings["lr"], settings["decay"]):
        announced = None
        if blocks is not None and done % length == 0:
            with eval_mode(model):
                announced, _ = next(blocks)
        done += len(scored.target_ids)
        if not bool(scored.nll.isfinite().all()):
            raise EvaluationError(
                f"the weights diverged after {done:,} of {len(ids):,} tokens; lower evaluation.lr (got "
                f"{settings['lr']:g}), or set tune=true"
            )
        yield announced, Segment(scored.features, scored.log_probabilities, scored.target_ids)
