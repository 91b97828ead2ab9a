"""What monitor and observe share: runs of this project's own pipelines, by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.engines.local import Job


def job(settings: Settings, pipeline: str, texts: Sequence[str], found: Mapping[str, Any] | None = None) -> Job:
    """Return a run on this machine of dags/<pipeline>, with its defaults, `found`, and ``NAME=VALUE`` texts, which win."""
    from fleetml.cli.pipelines import defaults, given, pipeline_file, triggers_of
    from fleetml.cli.run import fresh_id
    from fleetml.engines.local import Job
    from fleetml.pipeline import load

    path = pipeline_file(str(settings.project / "dags" / pipeline))
    plan = load(path, settings.home / "ir")
    parameters = {**defaults(path, plan, settings), **(found or {}), **given(texts, None, plan)}
    triggers = triggers_of(path, plan, settings)
    return Job(
        plan,
        path,
        plan.bind(parameters),
        fresh_id(plan.name, settings),
        workers=os.cpu_count() or 1,
        retries=triggers.retries,
        budget=triggers.budget,
    )
