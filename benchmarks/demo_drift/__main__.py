"""``python -m benchmarks.demo_drift``: play the demonstration; the exit status is 1, and the reason told, when a phase does not happen."""

import argparse
import os
import sys
import time

from benchmarks.demo_drift import page
from benchmarks.demo_drift.fleet import Fleet
from benchmarks.demo_drift.loop import Loop
from benchmarks.demo_drift.script import Script
from benchmarks.demo_drift.timeline import Timeline
from fleetml.errors import FleetMLError
from fleetml.settings import Settings
from fleetml.stack.interrupts import uninterrupted
from fleetml.stack.up import down, up


def main(argv: list[str] | None = None) -> int:
    """Play it in a stack of its own, a folder below the home; return the exit status, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_drift", description="Show the closed loop.")
    parser.add_argument("--keep", action="store_true", help="leave the stack up afterwards, to look around in it")
    args = parser.parse_args(argv)
    project = Settings.from_environment()
    home = project.home / "demo-drift" / time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    # Addresses of another stack are not meant for this one
    variables = {"FLEETML_PROJECT": str(project.project), "FLEETML_HOME": str(home)}
    for name in ("FLEETML_REGISTRY", "FLEETML_SERVING_DIR", "FLEETML_SERVING_ADDRESS", "FLEETML_FEATURE_STORE"):
        os.environ.pop(name, None)
    settings, line = Settings.from_environment({**os.environ, **variables}), Timeline()
    try:
        with line.phase("stack up") as detail:
            up(settings, lambda name, news: line.say(f"{name}: {news}"))
            detail.append(str(home))
        return play(Script(), Settings.from_environment({**os.environ, **variables}), variables, line)
    except KeyboardInterrupt:
        line.say("interrupted", "bold red")
        return 130
    finally:
        with uninterrupted():
            if args.keep:
                line.say("the stack stays up; stop it with: make down")
            else:
                down(settings)


def play(script: Script, settings: Settings, variables: dict[str, str], line: Timeline) -> int:
    """Play every phase in a running stack; write the page whatever happens. Return 0, or 1 when a phase did not happen."""
    fleet = Fleet(script.target, script.vms, script.before, script.days, script.seed)
    loop = Loop(script, settings, variables, line, fleet)
    try:
        loop.train()
        loop.calm()
        changed = loop.change()
        run = loop.retrained(loop.noticed())
        loop.recovered(changed, loop.promoted(run))
        loop.rolled_back(run)
        loop.end()
    except FleetMLError as error:
        line.say(f"did not happen: {error}", "bold red")
        return 1
    finally:
        loop.traffic.over.set()
        line.say(f"timeline: {page.write(settings.home / 'demo', loop).as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
