"""transfer: the fleet's model for a new region or class of VMs, of which there are few data."""
