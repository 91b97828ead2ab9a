"""The narrow waist: an IR document becomes a frozen `Plan`, and every question about its graph is answered here."""

from pathlib import Path

from fleetml.pipeline.plan import Decision, Inputs, Plan, Step

__all__ = ["Decision", "Inputs", "Plan", "Step", "load"]


def load(path: Path | str, cache: Path | None = None) -> Plan:
    """Read an IR document (YAML or JSON) and return its plan.

    `cache` is a folder that keeps the document's JSON form under its content hash, so that an unchanged
    file is not parsed as YAML again. Raises InvalidPipeline, or UnsupportedConstruct for what is valid but not run.
    """
    raise NotImplementedError
