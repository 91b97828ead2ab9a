"""The canonical table every stage speaks, and the synthetic fleet that fills it when there is no data."""

STEP_SECONDS = 300  # between two samples of a VM
MOST_GPUS = 8
"""GPUs of a node at most."""
WHOLE = 1000
"""Milli of one GPU."""
