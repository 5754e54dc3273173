"""Scores a split as one stream, with a neural cache, dynamic evaluation or both."""

from collections.abc import Mapping

import numpy as np

from lstm_lm.data.encoding import Ids
from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import GradientRMS
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.network import network_chunks
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import Score, ScoreMetric, target_rank
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


def evaluate_stream(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    rms: GradientRMS | None = None,
    progress: ProgressCallback | None = None,
) -> Score:
    """Score every token of a split with the exact softmax in float32.

    Args:
        model: The network. Its weights are unchanged afterwards.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Segment length of dynamic evaluation.
        settings: For the cache, ``cache_window``, ``cache_theta`` and ``cache_weight``; for dynamic evaluation, ``lr``
            and ``decay``.
        rms: From ``gradient_rms``, for dynamic evaluation; ``None`` keeps the weights fixed.
        progress: Called after each chunk of words with the tokens done and the total.

    Raises:
        DataError: If the split is empty.
        EvaluationError: If the weights diverge.
    """
    cache = NeuralCache.from_settings(settings) if settings.get("cache_weight") else None
    metric, nlls, done = ScoreMetric(vocabulary).to(model.device), [], 0
    for _, chunk in network_chunks(model, ids, vocabulary.eos_id, config, settings, rms, announce=False):
        scores, nll = chunk.log_probabilities, -chunk.target_log_probs
        if cache is not None:
            scores, nll = cache.interpolate(scores, chunk.features, chunk.target_ids)
        metric.update(nll, target_rank(scores, chunk.target_ids), chunk.target_ids)
        nlls.append(nll.double().cpu().numpy())
        done += len(nll)
        if progress is not None:
            progress(done, len(ids))
    return metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary))
