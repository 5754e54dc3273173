"""Hyperparameter search: a space in Hydra's grammar, studies in any Optuna storage, reports."""
