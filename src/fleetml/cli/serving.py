"""What the commands that change what is served have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fleetml.errors import StepFailed
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.serving.rollout.actions import Done, Place


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and why."""
    parser.add_argument("model", metavar="MODEL", help="its name on the server (bandwidth, cpu, …)")
    parser.add_argument("--reason", default="by hand", help="kept in the audit trail (default: %(default)s)")


def add_shorter_horizon(parser: argparse.ArgumentParser) -> None:
    """Whether questions that are answered today may be refused tomorrow."""
    parser.add_argument(
        "--shorter-horizon", action="store_true", help="serve it though it forecasts fewer steps than the served one"
    )


def place(settings: Settings, shorter_horizon: bool = False) -> Place:
    """Return where this user acts."""
    from fleetml.serving.rollout import actions

    return actions.Place(settings.serving_dir, settings.registry, actions.person(), shorter_horizon)


def say_done(done: Done) -> None:
    """Print what was changed; what the registry was not told goes to standard error."""
    from fleetml.cli.output import complain, say

    line = done.line
    before = f" from {line['from']}" if line["from"] else ""
    say(f"{line['model']}: {line['action']}{before} to {line['to']}")
    if done.registry:
        complain(f"the registry's aliases will follow once it answers: {done.registry}")


def say_served(settings: Settings, name: str) -> bool:
    """Wait for the server to serve what is deployed, and say so; return whether it does. Raises StepFailed where it refuses it."""
    from fleetml.cli.output import say
    from fleetml.serving import deployment
    from fleetml.serving.rollout import confirm

    version = deployment.read(settings.serving_dir)[name].version
    found = confirm.wait(settings.serving_dir, name, version)
    if found.state == "refused":
        raise StepFailed(f"the server must load {name} {version}, it says {found.why}; it serves what it served before")
    say(
        {
            "serving": f"version {version} answers (after {found.seconds:.1f} s)",
            "alone": f"no server runs; version {version} answers once one is started: fleetml up",
            "silent": f"the server has not loaded version {version} after {confirm.SECONDS:.0f} s; see its log",
        }[found.state]
    )
    return found.state == "serving"
