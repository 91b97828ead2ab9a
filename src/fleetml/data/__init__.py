"""The canonical table every stage speaks, and the synthetic fleet that fills it when there is no data."""

STEP_SECONDS = 300  # between two samples of a VM
