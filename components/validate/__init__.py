"""Validate: hold the canonical table to its schema before anything is trained."""
