"""A step is run here and nowhere else: inputs → executor input → runner → outputs → cache → record.

Every engine calls `run`, or does its `stages`; so a step means the same on each of them, and what one computed is another's hit.
"""

from fleetml.step.attempt import run, stages
from fleetml.step.failure import Failure
from fleetml.step.outcome import RunContext, StepOutcome

__all__ = ["Failure", "RunContext", "StepOutcome", "run", "stages"]
