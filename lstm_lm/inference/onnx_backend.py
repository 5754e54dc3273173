"""The network run by onnxruntime, without torch: what the service uses."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lstm_lm.inference.backend import State
from lstm_lm.nn.config import ModelConfig

_MAX_THREADS = 4  # one word reads each weight once: memory is the limit, and few cores reach it


class OnnxBackend:
    """Runs ``model.onnx`` or ``model.int8.onnx`` of a bundle on the CPU.

    Args:
        path: The graph.
        config: What the network is made of.
        vocab_size: Number of words V.
        threads: Threads that share one step; 0 takes as many as there are cores, at most 4.

    Attributes:
        name: Of the file.

    Raises:
        ValueError: If the file is not the graph of such a network.
    """

    def __init__(self, path: Path, config: ModelConfig, vocab_size: int, threads: int = 0) -> None:
        self.name = path.name
        self._dims = tuple(config.hidden_dims)
        self._vocab_size = vocab_size
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), _options(threads, packed=".int8." in path.name), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen kinds, all made of C++ and Exception
            reason = str(error).partition("\n")[0]
            raise ValueError(f"onnxruntime cannot load the graph ({reason})") from error
        self._state_names = [f"{kind}_{depth}" for depth in range(config.num_layers) for kind in ("hidden", "cell")]
        self._answers = ["logits", *(f"{name}_after" for name in self._state_names)]
        self._check()

    @property
    def vocab_size(self) -> int:
        """Number of words V."""
        return self._vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The state before the first word of ``batch_size`` texts."""
        return tuple(np.zeros((batch_size, dim), np.float32) for dim in self._dims for _ in ("hidden", "cell"))

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read words: see ``Backend.step``. The output layer runs for the last word alone."""
        logits, *after = self._session.run(self._answers, self._feed(input_ids, state))
        return logits, tuple(after)

    def read(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Read one text and keep the features: see ``Backend.read``."""
        features, logits, *after = self._session.run(["features", *self._answers], self._feed(input_ids, state))
        return features[0], logits[0], tuple(after)

    def _feed(self, input_ids: NDArray[np.int64], state: State) -> dict[str, NDArray[np.generic]]:
        return {"input_ids": input_ids, **dict(zip(self._state_names, state, strict=True))}

    def _check(self) -> None:
        """One word shows names and shapes: a graph leaves the size of an output open, so that only running tells."""
        try:
            state = self.initial_state(2)
            features, logits, *after = self._session.run(
                ["features", *self._answers], self._feed(np.zeros((2, 1), np.int64), state)
            )
            shapes = [part.shape for part in (features, logits, *after)]
            # the last word of the vocabulary must have its row too
            self.step(np.full((1, 1), self._vocab_size - 1), self.initial_state(1))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"the graph is not that of the network ({reason})") from error
        expected = [(2, 1, self._dims[-1]), (2, self._vocab_size), *(part.shape for part in state)]
        if shapes != expected:
            raise ValueError(f"the graph is not that of the network: it gives {shapes} where it needs {expected}")


def _options(threads: int, packed: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(os.cpu_count() or 1, _MAX_THREADS)
    options.inter_op_num_threads = 1
    # requests come far apart: a thread that spins in between takes the core from whoever works
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # buffers of one text are small; an arena would keep those of the longest for ever
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # int8 kernels need their own layout; in float32 it is no faster for one text, and a second copy of all weights
    options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
    # without VNNI, a sum of two products of uint8 and int8 may not fit its 16 bits; these kernels are exact, and take
    # twice as long for eight texts as those of VNNI, which are exact by themselves
    options.add_session_config_entry("session.x64quantprecision", "0" if _has_vnni() else "1")
    options.log_severity_level = 3
    return options


def _has_vnni() -> bool:
    """Whether the CPU has instructions for sums of products of uint8 and int8, as far as the system tells."""
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and "_vnni" in cpu.read_text()
