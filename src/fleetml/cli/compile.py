"""``fleetml compile [PIPELINE…]``: the IR of pipelines written in the KFP DSL, and of workflows."""

from __future__ import annotations

import argparse
from pathlib import Path

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipelines."""
    parser.add_argument(
        "pipelines", nargs="*", help="pipeline.py files, workflows, or their folders; default: every one in dags/"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a committed IR differs")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Compile; with --check return 1 if an IR is not what its source compiles to."""
    from fleetml.cli.output import say

    stale = False
    for source in [_source(Path(place)) for place in args.pipelines] or _of_project(settings.project):
        target, changed = _compile(source, _elsewhere(settings.project).get(source.absolute()), args.check)
        stale |= changed
        news = f"differs from its {source.name}; run: make compile" if args.check else "written"
        say(f"{target}: {news if changed else 'unchanged'}")
    return int(stale and args.check)


def _of_project(project: Path) -> list[Path]:
    """Return what is golden in a project."""
    from fleetml.workflow.source import NAMES

    found = [place for name in ("pipeline.py", *NAMES) for place in (project / "dags").glob(f"*/{name}")]
    return [*sorted(found), *(source for source in _elsewhere(project) if source.is_file())]


def _elsewhere(project: Path) -> dict[Path, Path]:
    """Return the sources whose IR does not lie beside them: the task types' components are data of the package."""
    return {project / "components/tabular/tasks.py": project / "src/fleetml/workflow/tasks.yaml"}


def _source(place: Path) -> Path:
    from fleetml.workflow.source import NAMES

    if not place.is_dir():
        return place
    return next((place / name for name in NAMES if (place / name).is_file()), place / "pipeline.py")


def _compile(source: Path, target: Path | None, check: bool) -> tuple[Path, bool]:
    from fleetml.compiler import compile_pipeline
    from fleetml.workflow.source import SUFFIXES, compile_file

    return (compile_file if source.suffix in SUFFIXES else compile_pipeline)(source, target, check)
