"""The model that ships with the package: everyday English for a keyboard, made by ``scripts/make_pretrained.sh``."""

from pathlib import Path

PRETRAINED = Path(__file__).parent / "keyboard"
"""Its bundle, with the vocabulary and the int8 graph; README.md is its model card."""
