"""Word-level LSTM language models: train, evaluate, export and serve."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstm_lm.loading import load_model

__version__ = version("lstm-lm")
__all__ = ["__version__", "load_model"]

# imported when they are used: the service needs no torch
_MODULES = {"load_model": "lstm_lm.loading"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
