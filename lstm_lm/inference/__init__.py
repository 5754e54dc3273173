"""Inference: suggestions and generation from a trained model."""
