"""``fleetml exporters --folder DIR``: tell Prometheus what measured scenarios cost, until told to end."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``python -m fleetml.cost.exporters``."""
    from fleetml.cost.exporters import command

    command.add_arguments(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises ConfigurationError, and Unavailable for a port that is taken."""
    import logging
    import os

    from fleetml import secrets
    from fleetml.cost.exporters import command

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return command.serve(
        args, os.environ, settings.home, lambda name: secrets.from_environment(name, ("token",)).get("token", "")
    )
