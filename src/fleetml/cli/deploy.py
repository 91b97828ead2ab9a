"""``fleetml deploy DEPLOYMENT.yaml``: write what clusters need of a deployment, and serve it on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from fleetml.cli import serving
from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which deployment."""
    parser.add_argument(
        "deployment",
        metavar="DEPLOYMENT.yaml",
        type=Path,
        help="see docs/serving.md, or: fleetml workflow schema deployment",
    )
    parser.add_argument(
        "--write",
        metavar="DIR",
        type=Path,
        help="only write the manifests into DIR, which is not there yet; start nothing",
    )
    serving.add_shorter_horizon(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Deploy it, print where it answers. Raises InvalidWorkflow, and as `fleetml.deploy.local` does."""
    import yaml

    from fleetml.cli.output import complain, say
    from fleetml.deploy import local, reading, spec
    from fleetml.deploy.configure import shown
    from fleetml.errors import InvalidParameter
    from fleetml.stack.interrupts import interruptible

    wanted = reading.read(args.deployment)
    text = args.deployment.read_text(encoding="utf-8")
    if args.write:
        if args.write.exists():
            raise InvalidParameter(
                f"--write overwrites nothing, {args.write} exists; choose another folder, or remove it"
            )
        files = local.write(settings, wanted, text, args.write.absolute())
        say(f"{args.write}: {', '.join(files)}")
        return 0
    with interruptible():
        done = local.deploy(settings, wanted, text, lambda name, news: say(f"{name:<8} {news}"), args.shorter_horizon)
    for name, version in done.versions.items():
        say(f"{name}: version {version} answers")
    say(f"gRPC     {done.service.address}")
    say(f"HTTP     http://{done.http}")
    say(f"settings {shown(asdict(wanted.server))}")
    if wanted.server.log_share < 1:
        say(f"         {wanted.server.log_share:g} of the answers are logged, which are all that the monitor sees")
    say(f"files    {done.folder}: {', '.join(done.files)}")
    if idle := [key for key in spec.ELSEWHERE if key in yaml.safe_load(text)]:
        say(f"         does nothing on this machine, only in these files: {', '.join(idle)}")
    for name, why in done.untold.items():
        complain(f"the registry's aliases of {name} will follow once it answers: {why}")
    return 0
