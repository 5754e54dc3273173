"""The network of a bundle, run by whatever its files and the installed packages allow."""

from collections.abc import Collection
from pathlib import Path

import safetensors

from lstm_lm.errors import BundleError, ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.nn.config import ModelConfig

WEIGHTS, ONNX, INT8 = "model.safetensors", "model.onnx", "model.int8.onnx"
BACKEND_FILES = {"int8": INT8, "onnx": ONNX, "torch": WEIGHTS}
"""What each backend runs, the quickest first."""
BACKENDS = ("auto", *BACKEND_FILES)


def load_backend(folder: Path, files: Collection[str], config: ModelConfig, vocab_size: int, choice: str) -> Backend:
    """Load a network.

    Args:
        folder: Of the bundle.
        files: Names of its verified files; whatever else lies in the folder is not read.
        config: What the network is made of.
        vocab_size: Number of words V.
        choice: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first of them that the bundle has a file for.

    Raises:
        ConfigError: If there is no such backend, the bundle has no file for it, or a package for it is missing.
        BundleError: If the file is not such a network.
    """
    if choice not in BACKENDS:
        raise ConfigError([f"backend: unknown (got {choice!r}); use one of {', '.join(BACKENDS)}"])
    there = [name for name, file in BACKEND_FILES.items() if file in files]
    chosen = there[0] if choice == "auto" else choice
    if chosen not in there:
        raise ConfigError(
            [
                f"backend: {folder} has no {BACKEND_FILES[chosen]} (got {choice!r}); use one of "
                f"{', '.join(('auto', *there))}, or export the checkpoint again"
            ]
        )
    path = folder / BACKEND_FILES[chosen]
    try:
        # each needs packages that the others do without
        if chosen == "torch":
            from lstm_lm.inference.torch_backend import TorchBackend, load_network

            return TorchBackend(load_network(config, vocab_size, path))
        from lstm_lm.inference.onnx_backend import OnnxBackend

        return OnnxBackend(path, config, vocab_size)
    except ModuleNotFoundError as error:
        extra = "train" if chosen == "torch" else "serve"
        raise ConfigError(
            [f"backend: {chosen} needs {error.name}, which is not installed: pip install 'lstm-lm[{extra}]'"]
        ) from error
    except (ValueError, safetensors.SafetensorError) as error:
        raise BundleError(f"{path}: {error}; export the checkpoint again") from error
