"""``fleetml``: one module per command, each with ``add_arguments(parser)`` and ``run(args, settings) -> int``.

A new command is one line in `COMMANDS` and one module. Only the module of the command that was asked for is
imported, so that a run of cache hits loads nothing else.
"""

from __future__ import annotations

# name -> (module, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("fleetml.cli.up", "start Airflow, MLflow and the gRPC server of this checkout"),
    "train": ("fleetml.cli.train", "run a pipeline in the stack's Airflow and show what came out"),
    "down": ("fleetml.cli.down", "stop everything this checkout started"),
    "compile": ("fleetml.cli.compile", "compile pipelines written in the KFP DSL to their IR"),
    "run": ("fleetml.cli.run", "run a pipeline on this machine"),
    "resume": ("fleetml.cli.resume", "go on with a run where it stopped"),
    "status": ("fleetml.cli.status", "list runs, or show one step by step"),
    "logs": ("fleetml.cli.logs", "print the log of a step"),
    "report": ("fleetml.cli.report", "write the HTML report of a run"),
    "costs": ("fleetml.cli.costs", "show what runs cost: time, energy, money, CO2"),
    "submit": ("fleetml.cli.submit", "submit a pipeline to a Kubeflow Pipelines cluster"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status (0 done, 1 failed, 2 wrong usage, 130 interrupted)."""
    raise NotImplementedError
