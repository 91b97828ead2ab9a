"""The local engine: every step of a plan on this machine, as many at once as it is told."""

from fleetml.engines.local.engine import Job, run

__all__ = ["Job", "run"]
