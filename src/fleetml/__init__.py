"""FleetML keeps the machine-learning models of a fleet of machines fresh by itself."""

__version__ = "0.1.0"
