"""Imports what every task of a pipeline needs before the executor forks the processes that run tasks (docs/adr/0003).

Each task is a fork of one of those, so it finds imported what otherwise it would import itself, for longer than a small step takes.
"""

import fleetml.engines.airflow
import fleetml.runners.strays
import fleetml.runners.subprocess  # noqa: F401
