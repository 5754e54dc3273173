"""Reading a split with a network whose weights stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.streams import EvalWindows
from lstm_lm.nn.model import LSTMLanguageModel


@contextmanager
def reading(model: LSTMLanguageModel) -> Iterator[None]:
    """Without dropout and without a graph; afterwards ``model`` is in the mode it came in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def stream_features(
    model: LSTMLanguageModel, ids: NDArray[np.int32], window_length: int, eos_id: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read a split as one stream, the state carried through it; to be used inside :func:`reading`.

    Yields:
        Features before every word of a window (T, H), and the words (T,).

    Raises:
        DataError: If the split is empty.
    """
    state = model.initial_state(1)
    for window in EvalWindows(ids, 1, window_length, eos_id):
        features, state = model.features(window.input_ids, state)
        yield features[0], window.target_ids[0]
