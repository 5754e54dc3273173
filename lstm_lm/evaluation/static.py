"""Static evaluation: the trained weights read a split once and learn nothing from it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from lstm_lm.data.streams import EvalWindows
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import eval_mode, window_features
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.score import Score, ScoreMetric
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


def evaluate_static(
    model: LSTMLanguageModel,
    ids: NDArray[np.int32],
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Score every token of a split, the first from ``<eos>``, with the exact softmax in float32.

    Args:
        model: The network; left in the mode it came in.
        ids: The split's stream of word ids (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Columns and window length; with ``batch_size=1`` the state is carried through the whole split.
        progress: Called after each window with the tokens done and the tokens in all.

    Returns:
        The score with its interval; ``tokens`` is N.

    Raises:
        DataError: If the split is empty.
    """
    windows = EvalWindows(ids, config.batch_size, config.window_length, vocabulary.eos_id)
    metric, nlls, done = ScoreMetric(vocabulary), [], 0
    with eval_mode(model):
        for window, features in window_features(model, windows):
            nlls.append(metric.update_window(model, features, window))
            done += window.num_tokens
            if progress is not None:
                progress(done, len(ids))
    # a row is a contiguous part of the split; what fills up the last ones does not count
    nll = torch.cat(nlls, dim=1).flatten()[: len(ids)].double().numpy()
    return metric.score(bootstrap(nll, ids, vocabulary))
