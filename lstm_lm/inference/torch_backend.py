"""The network run by torch. The one module of inference that imports it; the others reach it only when they run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from lstm_lm.inference.backend import State
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState


class TorchBackend:
    """Runs a network in eval mode, without gradients, one step a word.

    Args:
        model: In eval mode; its weights are only read.
    """

    def __init__(self, model: LSTMLanguageModel) -> None:
        assert not model.training, "a network in training mode drops out at random; call eval() first"
        self._model = model
        self._device = model.output_bias.device

    @property
    def vocab_size(self) -> int:
        """Number of words V."""
        return self._model.vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The state before the first word of ``batch_size`` texts."""
        return _to_arrays(self._model.initial_state(batch_size))

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read words: see ``Backend.step``. The output layer runs for the last word alone."""
        _, logits, after = self._run(input_ids, state)
        return logits, after

    def read(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Read one text and keep the features: see ``Backend.read``."""
        features, logits, after = self._run(input_ids, state)
        return features[0].float().cpu().numpy(), logits[0], after

    @torch.inference_mode()
    def _run(self, input_ids: NDArray[np.int64], state: State) -> tuple[Tensor, NDArray[np.float32], State]:
        features, after = self._model.features(
            torch.from_numpy(input_ids).to(self._device), _to_state(state, self._device)
        )
        logits = self._model.logits(features[:, -1])
        return features, logits.float().cpu().numpy(), _to_arrays(after)


def build_network(config: ModelConfig, vocab_size: int, weights: Mapping[str, Tensor]) -> LSTMLanguageModel:
    """A network in eval mode that holds ``weights``, which must be exactly its own: names, shapes, finite numbers.

    Args:
        config: Sizes.
        vocab_size: Number of words V.
        weights: By name of the network's ``state_dict``; the tensors themselves become its parameters.

    Raises:
        ValueError: If a weight is missing, does not belong, has another shape or is not finite.
    """
    # on the meta device nothing is allocated or drawn before the sizes are known to be those of the weights
    try:
        with torch.device("meta"):
            model = LSTMLanguageModel(config, vocab_size)
    except RuntimeError as error:
        raise ValueError(f"no network can have these sizes ({error})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} does not belong to it" for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        if tuple(weights[name].shape) != expected[name]:
            problems.append(f"{name} has shape {tuple(weights[name].shape)} where it needs {expected[name]}")
        elif not weights[name].is_floating_point():
            problems.append(f"{name} holds {weights[name].dtype}, not floating-point numbers")
        elif not weights[name].isfinite().all():
            problems.append(f"{name} holds infinity or NaN, as after a diverged training")
    if problems:
        raise ValueError(f"the weights do not fit the network: {'; '.join(sorted(problems))}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval()


def load_network(config: ModelConfig, vocab_size: int, path: Path) -> LSTMLanguageModel:
    """A network in eval mode from a safetensors file.

    Raises:
        ValueError: If the weights are not exactly those of ``config``.
        safetensors.SafetensorError: If the file is not in this format.
    """
    return build_network(config, vocab_size, load_file(path))


def _to_state(arrays: State, device: torch.device) -> LSTMState:
    tensors = [torch.from_numpy(array).unsqueeze(0).to(device) for array in arrays]
    return LSTMState(tuple(tensors[0::2]), tuple(tensors[1::2]))


def _to_arrays(state: LSTMState) -> State:
    pairs = zip(state.hidden, state.cell, strict=True)
    return tuple(tensor.squeeze(0).float().cpu().numpy() for pair in pairs for tensor in pair)
