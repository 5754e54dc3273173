"""Schemas and validation of the commands' configs."""
