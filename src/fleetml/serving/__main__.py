"""Run the server: ``python -m fleetml.serving --dir DIR [--port 50051] [--host 127.0.0.1] [--feature-store DIR]``."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from fleetml.errors import FleetMLError
from fleetml.serving.options import Options
from fleetml.serving.server import serve


def main(argv: list[str] | None = None) -> int:
    """Serve until told to end; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fleetml.serving", description="Serve the deployed models over gRPC."
    )
    parser.add_argument("--dir", type=Path, required=True, help="the serving folder, which deploy writes")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=50051, help="0: any free port, said on standard output")
    parser.add_argument(
        "--feature-store", type=Path, help="folder of the online feature store (default: no covariates)"
    )
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(Options(given.dir.absolute(), given.host, given.port, feature_store=given.feature_store)))
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except OSError as error:
        said = f"the server must write into {given.dir}, the system says: {error.strerror or error}; mend --dir"
        print(f"error: {said}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
