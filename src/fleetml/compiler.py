"""From a ``pipeline.py`` in the KFP DSL to its committed IR."""

from __future__ import annotations

import contextlib
import dis
import importlib.util
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fleetml.errors import ConfigurationError, InvalidPipeline

_MODULE = "fleetml_pipeline_source"


def compile_pipeline(source: Path, target: Path | None = None, check: bool = False) -> tuple[Path, bool]:
    """Compile the one pipeline function of `source` to `target` (default: the same name with ``.yaml``).

    Return the target and whether it differs from what stood there. With `check` nothing is written.
    Raises ConfigurationError where kfp is missing, InvalidPipeline naming file:line for the author's mistakes.
    """
    target = target or source.with_suffix(".yaml")
    _require_kfp()
    text = _compiled(source)
    old = target.read_text() if target.exists() else None
    if not check and text != old:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.tmp")
        aside.write_text(text)
        aside.replace(target)
    return target, text != old


def _require_kfp() -> None:
    if importlib.util.find_spec("kfp") is None:
        raise ConfigurationError(
            "compiling a pipeline needs kfp, which this Python lacks; use .venv/ml, or: pip install 'fleetml[kfp]'"
        )


def _compiled(source: Path) -> str:
    with _quiet(), _authors_mistakes(source), tempfile.TemporaryDirectory() as folder:
        from kfp import compiler

        made, pipeline = Path(folder) / "pipeline.yaml", _pipeline_of(_imported(source), source)
        compiler.Compiler().compile(pipeline, str(made))
        return _canonical_text(made.read_text(), list(pipeline.component_spec.inputs or {}))


def _canonical_text(text: str, parameters: list[str]) -> str:
    """Return the compiled documents under names and in an order that are the same each time.

    kfp sorts a pipeline's `parameters`; theirs is that of the function's signature.
    """
    import yaml

    from fleetml.pipeline import canonical

    document, *others = yaml.safe_load_all(text)
    spec, platforms = canonical.canonical(document, others[0]["platforms"] if others else {})
    inputs = spec["root"].get("inputDefinitions", {})
    if known := inputs.get("parameters"):
        inputs["parameters"] = {name: known[name] for name in parameters if name in known}
    documents = [spec, {"platforms": platforms}] if platforms else [spec]
    return f"# Compiled by `fleetml compile`; do not edit.\n{canonical.text(*documents)}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """kfp warns of future defaults at every component; they are the author's news, not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _authors_mistakes(source: Path) -> Iterator[None]:
    """Turn what the author's code raises into one message that names its line."""
    try:
        yield
    except InvalidPipeline:
        raise
    except Exception as error:
        raise InvalidPipeline(
            f"{_line_of(error, source)}: {type(error).__name__}: {error}; mend the pipeline and compile again"
        ) from error


def _line_of(error: Exception, source: Path) -> str:
    """Return file:line of the innermost frame in the author's file, or the file alone."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{source if Path(error.filename).resolve() == source.resolve() else error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == source.resolve()]
    return f"{source}:{own[-1].lineno}" if own else str(source)


def _imported(source: Path) -> ModuleType:
    """Run the file as a module; the project root and its own folder are importable meanwhile."""
    if not source.is_file():
        raise InvalidPipeline(f"there is no pipeline source {source}; give the path of a pipeline.py")
    spec = importlib.util.spec_from_file_location(_MODULE, source)
    if spec is None or spec.loader is None:
        raise InvalidPipeline(f"{source} must be a Python file; give the path of a pipeline.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path[:0] = [str(_project(source)), str(source.resolve().parent)]
    sys.modules[_MODULE] = module  # kfp reads the source of lightweight components through it
    try:
        # Not by the loader: it takes bytecode of the same second and size for that of the file as it is now.
        exec(compile(source.read_bytes(), source, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own pipeline
    finally:
        sys.path[:] = before
        del sys.modules[_MODULE]
    return module


def _project(source: Path) -> Path:
    """Return the project the source belongs to (it holds images/images.toml), or the current folder."""
    around = (folder for folder in source.resolve().parents if (folder / "images" / "images.toml").is_file())
    return next(around, Path.cwd())


def _pipeline_of(module: ModuleType, source: Path) -> Any:
    """Return the pipeline that no other pipeline of the file uses."""
    from kfp.dsl import graph_component

    found: dict[str, Any] = {
        name: value for name, value in vars(module).items() if isinstance(value, graph_component.GraphComponent)
    }
    own = {name: value for name, value in found.items() if value.pipeline_func.__module__ == _MODULE}
    called = {name for value in own.values() for name in _globals_of(value.pipeline_func)}
    outermost = [value for name, value in own.items() if name not in called]
    if len(outermost) == 1:
        return outermost[0]
    if not own:
        raise InvalidPipeline(
            f"{source}:1: a pipeline source must define one @dsl.pipeline, found none; decorate the function"
        )
    lines = ", ".join(
        f"{source}:{value.pipeline_func.__code__.co_firstlineno} {name}"
        for name, value in own.items()
        if value in outermost
    )
    raise InvalidPipeline(
        f"a pipeline source must define one outermost @dsl.pipeline, found {lines}; move one to its own file"
    )


def _globals_of(function: Callable[..., Any]) -> set[str]:
    """Return the module-level names a function reads."""
    return {entry.argval for entry in dis.get_instructions(function) if entry.opname == "LOAD_GLOBAL"}
