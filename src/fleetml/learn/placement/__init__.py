"""Placement: which node a pod should go to, learnt from simulated fillings of a cluster (docs/adr/0010, docs/placement-and-anomalies.md)."""
