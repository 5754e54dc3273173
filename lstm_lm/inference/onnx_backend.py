"""Runs the network with onnxruntime, without torch. The service uses this backend."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lstm_lm.inference.backend import State
from lstm_lm.inference.cpus import usable_cpus
from lstm_lm.nn.config import ModelConfig

_MAX_THREADS = 4  # a step reads each weight once, and a few cores saturate the memory bandwidth


class OnnxBackend:
    """Runs ``model.onnx`` or ``model.int8.onnx`` of a bundle on the CPU.

    Args:
        path: The graph.
        config: Network sizes.
        vocab_size: Vocabulary size V.
        threads: Threads per step; 0 is one per CPU that the process may use, at most 4.

    Raises:
        ValueError: If the file is not a graph of this network.
    """

    def __init__(self, path: Path, config: ModelConfig, vocab_size: int, threads: int = 0) -> None:
        self.name = path.name
        """File name of the graph."""
        self._num_layers = config.num_layers
        self._vocab_size = vocab_size
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), _options(threads, prepack=".int8." in path.name), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen C++ error types, whose only common base is Exception
            reason = str(error).partition("\n")[0]
            raise ValueError(f"onnxruntime cannot load the graph ({reason})") from error
        # the cell decides how many tensors the state of a layer has; each is as wide as the layer
        self._state_names = [node.name for node in self._session.get_inputs() if node.name != "input_ids"]
        self._output_names = ["logits", *(f"{name}_after" for name in self._state_names)]
        per_layer, rest = divmod(len(self._state_names), config.num_layers)
        if not per_layer or rest:
            raise ValueError(
                f"the graph does not match the network: it has {len(self._state_names)} state inputs for "
                f"{config.num_layers} layers"
            )
        self._dims = tuple(dim for dim in config.hidden_dims for _ in range(per_layer))
        self._validate_graph()

    @property
    def vocab_size(self) -> int:
        """Vocabulary size V."""
        return self._vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token of ``batch_size`` sequences."""
        return tuple(np.zeros((batch_size, dim), np.float32) for dim in self._dims)

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """See ``Backend.step``. The output layer runs for the last token only."""
        logits, *after = self._session.run(self._output_names, self._inputs(input_ids, state))
        return logits, tuple(after)

    def last_features(self, state: State) -> NDArray[np.float32]:
        """See ``Backend.last_features``."""
        return state[-(len(self._dims) // self._num_layers)]

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """See ``Backend.prefill``."""
        features, logits, *after = self._session.run(["features", *self._output_names], self._inputs(input_ids, state))
        return features[0], logits[0], tuple(after)

    def _inputs(self, input_ids: NDArray[np.int64], state: State) -> dict[str, NDArray[np.generic]]:
        return {"input_ids": input_ids, **dict(zip(self._state_names, state, strict=True))}

    def _validate_graph(self) -> None:
        """Run a token to check names and shapes: the graph does not declare the sizes of its outputs."""
        try:
            state = self.initial_state(2)
            features, logits, *after = self._session.run(
                ["features", *self._output_names], self._inputs(np.zeros((2, 1), np.int64), state)
            )
            shapes = [part.shape for part in (features, logits, *after)]
            # the last id of the vocabulary must have an embedding
            self.step(np.full((1, 1), self._vocab_size - 1), self.initial_state(1))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"the graph does not match the network ({reason})") from error
        expected = [(2, 1, self._dims[-1]), (2, self._vocab_size), *(part.shape for part in state)]
        if shapes != expected:
            raise ValueError(f"the graph does not match the network: output shapes are {shapes}, expected {expected}")


def _options(threads: int, prepack: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(usable_cpus(), _MAX_THREADS)
    options.inter_op_num_threads = 1
    # spinning between requests would take cores from other work
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # buffers are small, and an arena would keep those of the longest text forever
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # int8 kernels need prepacked weights; in float32, prepacking copies all weights and makes one text no faster
    options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
    # without VNNI, a sum of two uint8 x int8 products may overflow 16 bits; the precise kernels avoid this, but take
    # twice as long for eight texts as the VNNI kernels, which are exact too
    options.add_session_config_entry("session.x64quantprecision", "0" if _has_vnni() else "1")
    options.log_severity_level = 3
    return options


def _has_vnni() -> bool:
    """Whether the CPU reports VNNI, its instructions for uint8 x int8 dot products. Linux only."""
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and "_vnni" in cpu.read_text()
