"""Run the exporters: ``python -m fleetml.cost.exporters --folder DIR [--cost 9504] [--qoe 9503] [--results 9502] …``.

``--help`` lists all. The environment may hold FLEETML_COST_…, FLEETML_HOME, FLEETML_PROMETHEUS_TOKEN, FLEETML_PUSH_TOKEN, and the keys
of APIs of prices as FLEETML_SECRET_<NAME>_TOKEN.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from pathlib import Path

from fleetml.cost.exporters.command import add_arguments, serve
from fleetml.errors import FleetMLError


def main(argv: list[str] | None = None) -> int:
    """Serve until told to end; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fleetml.cost.exporters", description="Tell Prometheus what measured scenarios cost."
    )
    add_arguments(parser)
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home = Path(os.environ.get("FLEETML_HOME") or ".fleetml").expanduser().absolute()
    try:
        return serve(given, os.environ, home, _token)
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _token(name: str) -> str:
    return os.environ.get("FLEETML_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{name}_token".upper()), "")


if __name__ == "__main__":
    sys.exit(main())
