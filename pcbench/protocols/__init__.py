"""Protocols, recipes, suites and tests, as data."""
