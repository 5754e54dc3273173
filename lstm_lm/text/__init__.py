"""Tokenization, detokenization, casing and the vocabulary."""
