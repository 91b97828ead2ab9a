"""``fleetml models``: what is served, what is on its way, who changed it when and why."""

from __future__ import annotations

import argparse
import json
from typing import Any

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, what of it."""
    parser.add_argument("model", metavar="MODEL", nargs="?", default="", help="only this one, with its versions")
    parser.add_argument("version", metavar="VERSION", nargs="?", default="", help="say where this version comes from")
    parser.add_argument("--audit", action="store_true", help="the trail of changes, oldest first")
    parser.add_argument("--json", action="store_true", help="with --audit: whole lines, with their evidence")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per model, change or origin; where there is none, say so on standard error. Raises InvalidParameter."""
    from fleetml.cli.output import complain, say_table

    if args.version and not args.audit:
        from fleetml.serving import provenance

        found = provenance.of(settings.registry, settings.home, args.model, args.version)
        say_table(("WHAT", "WHICH"), found)
        if not found:
            complain(f"nobody recorded where {args.model} {args.version} comes from")
        return 0
    said = _say_audit(args, settings) if args.audit else _say_models(args.model, settings)
    if not said:
        complain(f"nothing {'changed' if args.audit else 'is served'} in {settings.serving_dir} yet; train a model")
    return 0


def _say_models(name: str, settings: Settings) -> bool:
    from fleetml.cli.output import say, say_table
    from fleetml.serving import deployment
    from fleetml.serving.rollout import actions

    models = {name: actions.served(settings.serving_dir, name)} if name else deployment.read(settings.serving_dir)
    rows = [(each, *_row(settings, each, served)) for each, served in sorted(models.items())]
    say_table(("MODEL", "SERVED", "PREVIOUS", "ROLLOUT", "LAST LOOK"), rows)
    if name:
        say(f"in the serving folder: {', '.join(actions.installed(settings.serving_dir, name))}")
    return bool(rows)


def _row(settings: Settings, name: str, served: Any) -> tuple[str, str, str, str]:
    from fleetml.serving.rollout import progress

    now = served.rollout
    if now is None:
        return served.version, served.previous or "-", "-", ""
    state = progress.read(settings.serving_dir, name)
    told = state.found.get("reason", "") if state and state.rollout == now.id else "none yet"
    return served.version, served.previous or "-", f"{now.mode} of {now.version} at {now.share:.0%}", told


def _say_audit(args: argparse.Namespace, settings: Settings) -> bool:
    from fleetml.cli.output import say, say_table
    from fleetml.serving import audit

    lines = audit.read(settings.serving_dir, args.model)
    if args.json:
        for line in lines:
            say(json.dumps(line, ensure_ascii=False))
    else:
        head = ("time", "who", "model", "action", "from", "to", "reason")
        say_table([name.upper() for name in head], [[str(line.get(name, "")) for name in head] for line in lines])
    return bool(lines)
