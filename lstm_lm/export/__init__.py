"""Checkpoint to bundle: ONNX and int8 graphs, parity checks, model card."""
