"""Word-level LSTM language models: train, evaluate, export and serve.

The names below are the Python interface: docs/python.md. Each is imported when it is used, so that a service needs no
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lstm_lm.version import __version__

if TYPE_CHECKING:
    from lstm_lm.config.validation import train_config
    from lstm_lm.data.config import BatchingConfig, DataConfig
    from lstm_lm.data.encoding import load_corpus
    from lstm_lm.evaluation.config import EvaluationConfig
    from lstm_lm.evaluation.run import evaluate
    from lstm_lm.export.bundle_export import export_bundle
    from lstm_lm.inference.config import SamplingConfig
    from lstm_lm.loading import load_model
    from lstm_lm.nn.config import LossConfig, ModelConfig
    from lstm_lm.training.datamodule import LanguageModelDataModule
    from lstm_lm.training.module import LanguageModelModule
    from lstm_lm.training.run import train

__all__ = [
    "BatchingConfig",
    "DataConfig",
    "EvaluationConfig",
    "LanguageModelDataModule",
    "LanguageModelModule",
    "LossConfig",
    "ModelConfig",
    "SamplingConfig",
    "__version__",
    "evaluate",
    "export_bundle",
    "load_corpus",
    "load_model",
    "train",
    "train_config",
]

_MODULES = {
    "BatchingConfig": "data.config",
    "DataConfig": "data.config",
    "EvaluationConfig": "evaluation.config",
    "LanguageModelDataModule": "training.datamodule",
    "LanguageModelModule": "training.module",
    "LossConfig": "nn.config",
    "ModelConfig": "nn.config",
    "SamplingConfig": "inference.config",
    "evaluate": "evaluation.run",
    "export_bundle": "export.bundle_export",
    "load_corpus": "data.encoding",
    "load_model": "loading",
    "train": "training.run",
    "train_config": "config.validation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
