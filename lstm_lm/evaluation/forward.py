"""Forward passes over a split with fixed weights, and the words that a network has scored."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.data.streams import EvalWindows, Window
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState


@dataclass(frozen=True)
class ScoredWords:
    """n words of a stream, scored by a network."""

    features: Tensor
    """Features before every word (n, H)."""
    log_probabilities: Tensor
    """Log probabilities of the vocabulary (n, V)."""
    target_ids: Tensor
    """The words (n,), int64."""

    @property
    def target_log_probs(self) -> Tensor:
        """Log probabilities of the words (n,)."""
        return self.log_probabilities.gather(1, self.target_ids.unsqueeze(1)).squeeze(1)


@contextmanager
def eval_mode(model: LSTMLanguageModel) -> Iterator[None]:
    """Disable dropout and autograd; the mode of ``model`` is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def device_windows(model: LSTMLanguageModel, ids: Ids, batch_size: int, window_length: int, eos_id: int) -> EvalWindows:
    """Windows of a split on the device of ``model``; arguments as in :class:`EvalWindows`."""
    device = None if model.device.type == "cpu" else model.device
    return EvalWindows(ids, batch_size, window_length, eos_id, device)


def window_features(model: LSTMLanguageModel, windows: Iterable[Window]) -> Iterator[tuple[Window, Tensor]]:
    """Run the network over windows, carrying the state through each stream. Use inside :func:`eval_mode`.

    Yields:
        Each window and its features (B, T, H).
    """
    state: LSTMState | None = None
    for window in windows:
        if window.starts_stream or state is None:
            state = model.initial_state(window.input_ids.shape[0])
        features, state = model.features(window.input_ids, state)
        yield window, features


def stream_features(
    model: LSTMLanguageModel, ids: Ids, window_length: int, eos_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run the network over a split as one stream. Use inside :func:`eval_mode`.

    Yields:
        For each window, the features before every word (T, H) and the words (T,).

    Raises:
        DataError: If the split is empty.
    """
    for window, features in window_features(model, device_windows(model, ids, 1, window_length, eos_id)):
        yield features[0], window.target_ids[0]
