"""Words from raw text and back, and the vocabulary."""
