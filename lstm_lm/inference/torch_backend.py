"""Runs the network with torch. The only module of this package that imports torch; others import it lazily."""

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

_SHOWN = 8  # problems of weights that a message lists


class TorchBackend:
    """Runs a network in eval mode, without gradients.

    Args:
        model: In eval mode. Not modified.
        threads: Threads of every torch operation of this process; 0 keeps their number.
    """

    def __init__(self, model: LSTMLanguageModel, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        assert not model.training, "a network in training mode applies dropout; call eval() first"
        self._model = model
        self._device = model.device

    @property
    def vocab_size(self) -> int:
        """Vocabulary size V."""
        return self._model.vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token of ``batch_size`` sequences."""
        return _to_arrays(self._model.initial_state(batch_size))

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """See ``Backend.step``. The output layer runs for the last token only."""
        _, logits, after = self._run(input_ids, state)
        return logits, after

    def last_features(self, state: State) -> NDArray[np.float32]:
        """See ``Backend.last_features``."""
        return state[-len(self._model.cell.state_names)]

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """See ``Backend.prefill``."""
        features, logits, after = self._run(input_ids, state)
        return features[0].float().cpu().numpy(), logits[0], after

    @torch.inference_mode()
    def _run(self, input_ids: NDArray[np.int64], state: State) -> tuple[Tensor, NDArray[np.float32], State]:
        tensors = [torch.from_numpy(array).unsqueeze(0).to(self._device) for array in state]
        features, after = self._model.features(
            torch.from_numpy(input_ids).to(self._device),
            LSTMState.from_tensors(tensors, self._model.config.num_layers),
        )
        logits = self._model.logits(features[:, -1])
        return features, logits.float().cpu().numpy(), _to_arrays(after)


def build_network(config: ModelConfig, vocab_size: int, weights: Mapping[str, Tensor]) -> LSTMLanguageModel:
    """Build a network in eval mode from a complete set of weights.

    Args:
        config: Network sizes.
        vocab_size: Vocabulary size V.
        weights: By name, as in the network's ``state_dict``. The tensors become its parameters without a copy.

    Raises:
        ValueError: If a weight is missing, unexpected, of another shape, not floating-point or not finite.
    """
    if config.num_layers > len(weights):  # a list of a million layers would take minutes to build
        raise ValueError(f"the weights do not match the network: {config.num_layers} layers, {len(weights)} weights")
    # the meta device allocates nothing until the sizes are known to match the weights
    try:
        with torch.device("meta"):
            model = LSTMLanguageModel(config, vocab_size)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"no network can have these sizes ({str(error).partition(chr(10))[0]})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is unexpected" for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        if problem := _weight_problem(weights[name], expected[name]):
            problems.append(f"{name} {problem}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ValueError(f"the weights do not match the network: {'; '.join(sorted(problems)[:_SHOWN])}{more}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return model.eval()


def _weight_problem(weight: object, shape: tuple[int, ...]) -> str | None:
    if not isinstance(weight, Tensor):
        return f"is a {type(weight).__name__}, not a tensor"
    if weight.is_nested:
        return "is a nested tensor"
    if tuple(weight.shape) != shape:
        return f"has shape {tuple(weight.shape)}, expected {shape}"
    if not weight.is_floating_point():
        return f"has dtype {weight.dtype}, expected a floating-point type"
    if weight.layout != torch.strided or weight.is_meta or not weight.is_contiguous():
        # a view that repeats its numbers can be larger than memory
        return "is not stored as one contiguous block of numbers"
    if not weight.float().isfinite().all():
        return "contains infinity or NaN, as after training that diverged"
    return None


def load_network(config: ModelConfig, vocab_size: int, path: Path) -> LSTMLanguageModel:
    """Load a network in eval mode from a safetensors file; the weights are copied, so the file may change later.

    Raises:
        ValueError: If the weights do not match ``config``.
        safetensors.SafetensorError: If the file is not a safetensors file.
    """
    # a mapped file that is overwritten changes the answers, and one that is truncated ends the process
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    return build_network(config, vocab_size, weights)


def _to_arrays(state: LSTMState) -> State:
    return tuple(tensor.squeeze(0).float().cpu().numpy() for tensor in state.tensors())
