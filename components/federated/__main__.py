"""``python -m components.federated COMMAND``: keys, the link and the nodes of real regions; `fleetml federation` calls it."""

from __future__ import annotations

import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when Flower is imported

from components.federated.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
