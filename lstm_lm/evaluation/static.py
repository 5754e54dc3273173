"""Static evaluation: scores a split with fixed weights."""

import torch

from lstm_lm.data.encoding import Ids
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import device_windows, eval_mode, window_features
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import Score, ScoreMetric
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


def evaluate_static(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    progress: ProgressCallback | None = None,
) -> Score:
    """Score every token of a split, the first from ``<eos>``, with the exact softmax in float32.

    Args:
        model: The network, on the device to score it on. Its mode is restored.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Batch size and window length; with ``batch_size=1`` the state is carried through the whole split.
        progress: Called after each window with the tokens done and the total.

    Returns:
        The score with its interval; ``tokens`` is N.

    Raises:
        DataError: If the split is empty.
    """
    windows = device_windows(model, ids, config.batch_size, config.words_per_window, vocabulary.eos_id)
    metric, nlls, done = ScoreMetric(vocabulary).to(model.device), [], 0
    with eval_mode(model):
        for window, features in window_features(model, windows):
            nlls.append(metric.update_window(model, features, window).nll)
            done += window.num_tokens
            if progress is not None:
                progress(done, len(ids))
    # each row is a contiguous part of the split; the end is padding
    nll = torch.cat(nlls, dim=1).flatten()[: len(ids)].double().cpu().numpy()
    return metric.score(bootstrap(nll, ids, vocabulary))
