"""Helpers of the tests: small models, corpora and runs, and commands and services in processes of their own."""
