"""The narrow waist: an IR document becomes a frozen `Plan`, and every question about its graph is answered here.

document   YAML or JSON text to plain values, cached as JSON
ir         the grammar: every key, and what is not run yet
platform   what steps ask of a cluster (kfp-kubernetes), its grammar and meaning
definitions, expand    components and nested DAGs to flat steps
order      edges, conditions, skips and failures
loops      iterations, and what they leave
sources    where an input's value comes from in a run
conditions, placeholders, values    the three small languages inside the IR
plan       the questions an engine asks
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.pipeline import document, ir, platform
from fleetml.pipeline.model import Decision, Inputs, Parameter, Step
from fleetml.pipeline.plan import Plan
from fleetml.pipeline.values import digest

__all__ = ["Decision", "Inputs", "Parameter", "Plan", "Step", "load", "plan_of"]


def load(path: Path | str, cache: Path | None = None, fold: bool = False) -> Plan:
    """Read an IR document (YAML or JSON) and return its plan.

    `cache` is a folder that keeps the document's JSON form under its content hash, so that an unchanged
    file is not parsed as YAML again; `fold` as in `Plan`. Raises InvalidPipeline, or UnsupportedConstruct for what is valid but not run.
    """
    try:
        return plan_of(document.read(Path(path), cache), fold)
    except InvalidPipeline as error:
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise InvalidPipeline(f"{path}: something in it is nested deeper than can be read; flatten it") from None


def plan_of(spec: Mapping[str, Any], fold: bool = False) -> Plan:
    """Return the plan of a PipelineSpec in its JSON form. Raises as `load`."""
    ir.check(spec)
    platform.check(spec)
    info = spec["pipelineInfo"]
    folded = Plan(
        name=info["name"],
        digest=digest(spec),
        inputs={},
        steps={},
        document=spec,
        fold=fold,
        label=info.get("displayName") or info["name"],
        description=info.get("description", ""),
    )
    return folded.unfold({})
