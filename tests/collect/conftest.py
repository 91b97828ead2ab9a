"""Pipelines of Python functions for these tests."""

from tests.small_pipelines import pipeline

__all__ = ["pipeline"]
