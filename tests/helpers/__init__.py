"""Test helpers: small models, corpora and runs; commands and services in their own process."""
