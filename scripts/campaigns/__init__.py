"""The campaigns of scripts/torture.py."""
