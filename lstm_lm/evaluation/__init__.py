"""Evaluation: perplexity, neural cache, dynamic evaluation and keystroke savings."""
