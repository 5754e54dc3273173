"""Reading a split with a network whose weights stay as they are."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.streams import EvalWindows, Window
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState


@contextmanager
def eval_mode(model: LSTMLanguageModel) -> Iterator[None]:
    """Without dropout and without a graph; afterwards ``model`` is in the mode it came in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def window_features(model: LSTMLanguageModel, windows: Iterable[Window]) -> Iterator[tuple[Window, Tensor]]:
    """Read windows one after the other, the state carried through each stream; to be used inside :func:`eval_mode`.

    Yields:
        Every window, and what the network makes of it (B, T, H).
    """
    state: LSTMState | None = None
    for window in windows:
        if window.starts_stream or state is None:
            state = model.initial_state(window.input_ids.shape[0])
        features, state = model.features(window.input_ids, state)
        yield window, features


def stream_features(
    model: LSTMLanguageModel, ids: NDArray[np.int32], window_length: int, eos_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a split as one stream; to be used inside :func:`eval_mode`.

    Yields:
        Features before every word of a window (T, H), and the words (T,).

    Raises:
        DataError: If the split is empty.
    """
    for window, features in window_features(model, EvalWindows(ids, 1, window_length, eos_id)):
        yield features[0], window.target_ids[0]
