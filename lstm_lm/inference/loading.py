"""Loads the network of a bundle with the fastest backend that its files and the installed packages support."""

from collections.abc import Collection
from pathlib import Path

import safetensors

from lstm_lm.errors import BundleError, ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.nn.config import ModelConfig

WEIGHTS, ONNX, INT8 = "model.safetensors", "model.onnx", "model.int8.onnx"
BACKEND_FILES = {"int8": INT8, "onnx": ONNX, "torch": WEIGHTS}
"""The file that each backend runs, fastest backend first."""
BACKENDS = ("auto", *BACKEND_FILES)


def load_backend(
    folder: Path, files: Collection[str], config: ModelConfig, vocab_size: int, choice: str, threads: int = 0
) -> Backend:
    """Load a network.

    Args:
        folder: The bundle.
        files: Names of its verified files; no other file is read.
        config: Network sizes.
        vocab_size: Vocabulary size V.
        choice: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first of these that the bundle has a file for.
        threads: Threads per step; 0 is the backend's default.

    Raises:
        ConfigError: If the backend is unknown, the bundle has no file for it, or it needs a package that is not
            installed.
        BundleError: If the file does not hold this network.
    """
    if choice not in BACKENDS:
        raise ConfigError([f"backend: unknown (got {choice!r}); use one of {', '.join(BACKENDS)}"])
    available = [name for name, file in BACKEND_FILES.items() if file in files]
    chosen = available[0] if choice == "auto" else choice
    if chosen not in available:
        raise ConfigError(
            [
                f"backend: {folder} has no {BACKEND_FILES[chosen]} (got {choice!r}); use one of "
                f"{', '.join(('auto', *available))}, or export the checkpoint again"
            ]
        )
    path = folder / BACKEND_FILES[chosen]
    try:
        # imported here, as each backend needs packages that the others do not
        if chosen == "torch":
            from lstm_lm.inference.torch_backend import TorchBackend, load_network

            return TorchBackend(load_network(config, vocab_size, path), threads)
        from lstm_lm.inference.onnx_backend import OnnxBackend

        return OnnxBackend(path, config, vocab_size, threads)
    except ModuleNotFoundError as error:
        extra = "train" if chosen == "torch" else "serve"
        raise ConfigError(
            [f"backend: {chosen} needs {error.name}, which is not installed: pip install 'lstm-lm[{extra}]'"]
        ) from error
    except (ValueError, safetensors.SafetensorError) as error:
        raise BundleError(f"{path}: {error}; export the checkpoint again") from error
