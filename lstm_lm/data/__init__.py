"""Corpora, their encoding as word ids, and windows for training and evaluation."""
