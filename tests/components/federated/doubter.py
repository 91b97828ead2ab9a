"""A node whose region trusts another authority: ``python -m tests.components.federated.doubter LINK --key K --authority A``."""

from __future__ import annotations

import sys
from pathlib import Path

from components.federated.node import Node
from fleetml.errors import FleetMLError

if __name__ == "__main__":
    try:
        Node(sys.argv[1], Path(sys.argv[5]), Path(sys.argv[3]), patience=10.0).serve(
            lambda message, context: message, {}
        )
    except FleetMLError as error:
        sys.stderr.write(str(error))
        raise SystemExit(error.exit_code) from error
