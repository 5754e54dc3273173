"""The Hydra config groups."""
