"""``fleetml up``: start Airflow, MLflow and the gRPC server of this checkout, or find them running."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: everything is known from the checkout."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Bring the stack up, show its progress and where it answers."""
    from fleetml.cli.terminal import Terminal
    from fleetml.stack.interrupts import interruptible
    from fleetml.stack.up import up

    terminal = Terminal()
    with interruptible():
        running = up(settings, terminal.news)
    terminal.stack(running.stack, fresh=running.fresh)
    return 0
