"""``fleetml validate DEPLOYMENT``: is the deployment sound, and does the server serve what it says?"""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which deployment."""
    parser.add_argument(
        "deployment", metavar="DEPLOYMENT", help="its file, or its name once it was made by fleetml deploy"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per check, and on standard error what is being checked, which may take seconds.

    Return 0 if all hold, 1 if one does not. Raises InvalidWorkflow, InvalidParameter.
    """
    from fleetml.cli.output import complain, say
    from fleetml.deploy import output, reading

    place = output.document(settings.home, args.deployment)
    wanted = reading.read(place)
    say(f"ok      {place}: deployment {wanted.name}")
    from fleetml.deploy.checks import checks  # ONNX Runtime and more: seconds, after the first line

    failed = 0
    for check in checks(settings, wanted, lambda what: complain(f"checking {what}")):
        say(f"{'FAILED' if check.failure else 'ok':<7} {check.what}: {check.failure or check.found}")
        failed += bool(check.failure)
    if not output.place(settings.home, wanted.name).is_dir():
        say(f"        not deployed here yet, no server was asked: fleetml deploy {place}")
    return int(failed > 0)
