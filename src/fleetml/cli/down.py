"""``fleetml down``: end every process of this checkout's stack."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: only this checkout's own processes are touched."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Stop the stack; say what ran."""
    from fleetml.cli.terminal import Terminal
    from fleetml.stack.up import down

    terminal = Terminal()
    ended = down(settings, terminal.news)
    terminal.say(
        f"stopped {', '.join(ended)}; no process is left" if ended else "nothing to stop: no stack was running"
    )
    return 0
