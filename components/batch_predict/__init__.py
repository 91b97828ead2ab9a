"""Batch prediction: forecasts of the whole fleet as a table."""
