"""Corpora, their encoding, and windows for training and evaluation."""
