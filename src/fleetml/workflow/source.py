"""Workflow files: which files are workflows, and where the IR lies that each compiles to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml import atomic, sha256
from fleetml.errors import FleetMLError, InvalidPipeline
from fleetml.frozen import replace
from fleetml.pipeline import document
from fleetml.pipeline.values import canonical_json

if TYPE_CHECKING:
    from fleetml.pipeline import Plan
    from fleetml.settings import Settings
    from fleetml.workflow.spec import Workflow

NAMES = ("workflow.yaml", "workflow.yml", "workflow.json")
SUFFIXES = (".yaml", ".yml", ".json")
WORKFLOW = "fleetml-workflow-1"  # the IR's sdkVersion: who compiled it
_PLACES = ("dataset_path", "output_path")


def is_workflow(content: Mapping[str, Any]) -> bool:
    """Say whether a document is meant as a workflow: an IR has neither of these at its top."""
    return "pipelineInfo" not in content and ("workflow_id" in content or "tasks" in content)


def is_job(content: Mapping[str, Any]) -> bool:
    """Say whether a document is meant as a training job."""
    return "model_id" in content and "tasks" not in content and "pipelineInfo" not in content


def read(path: Path, cache: Path | None = None) -> Workflow:
    """Return the workflow in a file; its relative paths are relative to the file's folder.

    Raises InvalidPipeline for what is no YAML or JSON, InvalidWorkflow, each with the file's name.
    """
    from fleetml.workflow.spec import parse

    with naming(path):
        content = document.read(path, cache)
        _refuse_job(content, path)
        return located(parse(content), path.parent.absolute())


def _refuse_job(content: Mapping[str, Any], path: Path) -> None:
    if is_job(content):
        raise InvalidPipeline(f"a training job is no pipeline; run it: fleetml train {path}")


def ir_file(path: Path, home: Path) -> Path:
    """Return the IR that a file stands for: itself, or for a workflow what it compiles to, kept below `home`/ir.

    An unchanged workflow is not compiled again. Raises InvalidPipeline, InvalidWorkflow.
    """
    if path.suffix not in SUFFIXES or b"pipelineInfo" in path.read_bytes():
        return path
    with naming(path):
        content = document.read(path, home / "ir")
        _refuse_job(content, path)
    if not is_workflow(content):
        return path
    key = sha256.hexdigest(f"{path.parent.absolute()}\0{_code_digest()}\0".encode() + path.read_bytes())
    place = home / "ir" / f"workflow-{key}.json"
    if not place.is_file():
        with naming(path):
            _write(place, read(path, home / "ir"))
    return place


def keep(workflow: Workflow, home: Path) -> Path:
    """Write what a workflow compiles to below `home`/ir, under its own digest; return the file.

    Raises InvalidWorkflow, OSError.
    """
    from fleetml.workflow.emit import compiled

    text = canonical_json(compiled(workflow))
    place = home / "ir" / f"workflow-{sha256.hexdigest(text.encode())}.json"
    atomic.write_text(place, text)
    return place


def _write(place: Path, workflow: Workflow) -> None:
    from fleetml.workflow.emit import compiled

    atomic.write_text(place, canonical_json(compiled(workflow)))


def compile_file(path: Path, target: Path | None = None, check: bool = False) -> tuple[Path, bool]:
    """Compile a workflow to `target` (``pipeline.yaml`` beside a workflow.yaml, else ``<name>.pipeline.yaml``).

    Return the target and whether it differs from what stood there; with `check` nothing is written. Raises InvalidWorkflow.
    """
    from fleetml.pipeline import canonical
    from fleetml.workflow.emit import compiled

    target = target or path.with_name("pipeline.yaml" if path.name in NAMES else f"{path.stem}.pipeline.yaml")
    workflow = read(path)
    with naming(path):
        body = canonical.text(compiled(workflow))
    text = f"# Compiled by `fleetml compile`; do not edit.\n{body}"
    old = target.read_text(encoding="utf-8") if target.exists() else None
    if not check and text != old:
        atomic.write_text(target, text)
    return target, text != old


def located(workflow: Workflow, folder: Path) -> Workflow:
    """Return the workflow with relative paths made absolute: a step has a folder of its own."""
    tasks = tuple(replace(task, parameters=_located(task.parameters, folder)) for task in workflow.tasks)
    return replace(workflow, parameters=_located(workflow.parameters, folder), tasks=tasks)


def _located(parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    def place(name: str, value: Any) -> Any:
        if name not in _PLACES or not isinstance(value, str) or not value or "://" in value or "${" in value:
            return value
        return str(folder / Path(value).expanduser())

    return {name: place(name, value) for name, value in parameters.items()}


@cache
def _code_digest() -> str:
    """SHA-256 over what turns a workflow into IR."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here / "tasks.yaml", here.parent / "learn" / "algorithms.py"]
    return sha256.hexdigest(b"\0".join(file.read_bytes() for file in files))


def installation(plan: Plan, settings: Settings) -> dict[str, str]:
    """Return the parameters of a workflow's run that nobody gave: where to register and to serve."""
    if plan.document.get("sdkVersion") != WORKFLOW:
        return {}
    own = {"registry": settings.registry, "serving_dir": str(settings.serving_dir)}
    return {name: value for name, value in own.items() if name in plan.inputs and not plan.inputs[name].default}


class naming:
    """Puts a file's name before the message of what goes wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FleetMLError) and not str(error).startswith(str(self.path)):
            raise type(error)(f"{self.path}: {error}") from None
