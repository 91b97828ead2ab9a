"""Starts another pipeline by its name."""
