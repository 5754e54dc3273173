"""The commands of ``lstm-lm``."""
