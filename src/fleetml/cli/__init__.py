"""``fleetml``: one module per command, each with ``add_arguments(parser)`` and ``run(args, settings) -> int``.

A new command is one line in `COMMANDS` and one module. Only the module of the command that was asked for is
imported, so that a run of cache hits loads nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from fleetml import __version__
from fleetml.errors import FleetMLError

# name -> (module, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("fleetml.cli.train", "start the stack, run a pipeline in its Airflow, show what came out"),
    "up": ("fleetml.cli.up", "start the embedded stack: Airflow, MLflow, the gRPC server, the rollout controller"),
    "down": ("fleetml.cli.down", "stop the embedded stack"),
    "compile": ("fleetml.cli.compile", "compile pipelines written in the KFP DSL to their IR"),
    "run": ("fleetml.cli.run", "run a pipeline on this machine"),
    "workflow": ("fleetml.cli.workflow", "begin a workflow from a template, print its schema"),
    "resume": ("fleetml.cli.resume", "go on with a run where it stopped"),
    "ls": ("fleetml.cli.ls", "list runs"),
    "status": ("fleetml.cli.status", "show a run step by step"),
    "logs": ("fleetml.cli.logs", "print the log of a step"),
    "stop": ("fleetml.cli.stop", "stop a run and all its steps"),
    "costs": ("fleetml.cli.costs", "show what runs cost: time, energy, money, CO2"),
    "exporters": ("fleetml.cli.exporters", "tell Prometheus what measured scenarios cost"),
    "recommend": ("fleetml.cli.recommend", "say when and where a run should go, which measured scenario is best"),
    "report": ("fleetml.cli.report", "write the HTML report of a run"),
    "cache": ("fleetml.cli.cache", "list the cache, explain a hit or a miss, remove entries"),
    "gc": ("fleetml.cli.gc", "remove old runs, results and cache entries that nobody needs"),
    "models": ("fleetml.cli.models", "show what is served, what is on its way, who changed it"),
    "deploy": ("fleetml.cli.deploy", "serve a deployment here, write what clusters need of it"),
    "validate": ("fleetml.cli.validate", "check a deployment: its document, its versions, the server that serves it"),
    "promote": ("fleetml.cli.promote", "serve a version of a model alone, at once"),
    "rollback": ("fleetml.cli.rollback", "end a rollout, or serve the previous version again"),
    "split": ("fleetml.cli.split", "have a version answer a fixed share of the VMs"),
    "monitor": ("fleetml.cli.monitor", "look for drift and bad forecasts of a served model now, retrain if it is due"),
    "observe": ("fleetml.cli.observe", "take in what became true, for forecasts to be judged by"),
    "import": ("fleetml.cli.import_", "take in a model from elsewhere: one graph, proven equal, registered"),
    "federation": ("fleetml.cli.federation", "run the link and the nodes of federated rounds over real regions"),
    "submit": ("fleetml.cli.submit", "submit a pipeline to a Kubeflow Pipelines cluster"),
}
INTERRUPTED, INTERNAL = 130, 70


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status (0 done, 1 failed, 2 wrong usage, 70 our mistake, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    _ready_streams()
    if not argv or argv[0] not in COMMANDS:
        _help_or_refuse(argv)
    # Only the parser of this one command is made: those of all take longer than a run of cache hits.
    module, line = COMMANDS[argv[0]]
    chosen = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=f"fleetml {argv[0]}", description=line, formatter_class=_Help)
    chosen.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    from fleetml.settings import Settings

    try:
        return int(chosen.run(args, Settings.from_environment()))
    except FleetMLError as error:
        _complain(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `fleetml logs … | head`
        sys.stderr.close()
        return 0
    except OSError as error:
        _complain(
            f"error: the system says: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        )
        return 1
    except Exception as error:
        _complain(
            f"error: {type(error).__name__}: {error}; a mistake of FleetML itself, please report it with {_kept()}"
        )
        return INTERNAL


def _ready_streams() -> None:
    """Open what the caller closed, or the first file of ours would be taken for it; what cannot be encoded is shown as "?"."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (each or open(os.devnull, "w") for each in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


class _Help(argparse.HelpFormatter):
    """Knows the width of the terminal: without it argparse loads shutil, and all archive formats, to add an argument."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    try:
        return os.get_terminal_size().columns or 80
    except (OSError, ValueError):  # no terminal
        return 80


def _help_or_refuse(argv: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="fleetml", description="Keeps the models of a fleet of machines fresh.")
    parser.add_argument("--version", action="version", version=f"fleetml {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (_, line) in COMMANDS.items():
        commands.add_parser(command, help=line, description=line)
    parser.parse_args(argv)
    parser.error("the command comes first")


def _complain(line: str) -> None:
    from fleetml.redaction import without_passwords

    print(without_passwords(line), file=sys.stderr)  # noqa: T201


def _kept() -> str:
    """Write the traceback of the present exception to a file of its own and return its place."""
    import tempfile
    import traceback

    from fleetml.redaction import without_passwords

    with tempfile.NamedTemporaryFile("w", prefix="fleetml-error-", suffix=".log", delete=False) as log:
        log.write(without_passwords(traceback.format_exc()))
    return log.name
