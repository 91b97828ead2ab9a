"""The local engine: every step of a plan on this machine, as many at once as it is told."""

from fleetml.engines.local.engine import Job, run
from fleetml.engines.local.resume import Kept, finished

__all__ = ["Job", "Kept", "finished", "run"]
