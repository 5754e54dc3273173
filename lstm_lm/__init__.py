"""Word-level LSTM language models: train, evaluate, export and serve."""

from importlib.metadata import version

__version__ = version("lstm-lm")
