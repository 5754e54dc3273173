"""How a language model is scored."""
