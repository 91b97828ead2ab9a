"""Placeholders of the IR: what ``{{$…}}``, Concat and IfPresent become in a command, args or env.

`names` maps the run placeholders to their values: pipeline_job_name, pipeline_job_uuid,
pipeline_job_resource_name, pipeline_job_create_time_utc, pipeline_job_schedule_time_utc,
pipeline_task_name, pipeline_task_uuid, pipeline_root.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetml.pipeline.plan import Container, Step


def render_command(container: Container, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return command + args as the process gets them. `executor_input` as in KFP's executor contract."""
    raise NotImplementedError


def render_env(container: Container, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return the container's environment variables."""
    raise NotImplementedError


def run_specific(step: Step) -> list[str]:
    """Return the placeholders in the step's container and constants that differ from run to run."""
    raise NotImplementedError
