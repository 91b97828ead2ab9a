"""Anomalies: which of a VM's metrics are not what the fleet's others let expect (docs/adr/0010)."""
