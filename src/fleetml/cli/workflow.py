"""``fleetml workflow new NAME``: a workflow to begin with; ``fleetml workflow schema``: what a workflow may hold."""

from __future__ import annotations

import argparse
from pathlib import Path

from fleetml.settings import Settings

TEMPLATES = Path(__file__).parents[1] / "workflow" / "templates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do."""
    actions = parser.add_subparsers(dest="action", required=True)
    new = actions.add_parser("new", help="write NAME.yaml from a template")
    new.add_argument("name", help="its workflow_id, and the file's name")
    names = sorted(path.stem for path in TEMPLATES.glob("*.yaml"))
    new.add_argument("--template", choices=names, default="train", help="default: train")
    schema = actions.add_parser("schema", help="print the JSON Schema")
    schema.add_argument(
        "of", nargs="?", choices=["workflow", "job", "deployment"], default="workflow", help="default: workflow"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Write a workflow, or print a schema. Raises ConfigurationError for a file that is there."""
    from fleetml.cli.output import say

    if args.action == "schema":
        from fleetml.deploy.schema import deployment
        from fleetml.workflow.schema import text, training_job, workflow

        made = {"workflow": workflow, "job": training_job, "deployment": deployment}[args.of]()
        say(text(made).rstrip())
        return 0
    place = _new(args.name, args.template)
    say(f"{place} written; name your data in it, then: fleetml run {place}")
    return 0


def _new(name: str, template: str) -> Path:
    from fleetml import atomic
    from fleetml.errors import ConfigurationError
    from fleetml.workflow.spec import parse

    parse({"workflow_id": name, "tasks": [{"task_id": "any", "task_type": "MODEL_TRAINING"}]})  # the name is an id
    place = Path(f"{name}.yaml")
    if place.exists():
        raise ConfigurationError(f"a new workflow overwrites nothing, {place} exists; choose another name")
    atomic.write_text(place, (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8").replace("NAME", name))
    return place
