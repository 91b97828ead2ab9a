"""A model from elsewhere, from file to registry."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fleetml.errors import InvalidData
from fleetml.imports import conversion, equality, formats, samples
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.conversion import Converted
from fleetml.imports.equality import Equality
from fleetml.imports.formats import FORMATS
from fleetml.serving import backends, deployment, kinds
from fleetml.serving.aliases import CHALLENGER, CHAMPION
from fleetml.serving.backends import Session
from fleetml.settings import Settings

COLUMNS = "fleetml.columns"
_ORIGINAL = "original"


@dataclass(frozen=True)
class Imported:
    """A version that was registered: its format, kind, alias, loaded graph, and how equal it is."""

    version: str
    alias: str
    format: str
    kind: str
    session: Session
    equality: Equality
    compared: str
    size_bytes: int


def import_model(
    settings: Settings,
    path: Path,
    name: str,
    given: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Imported:
    """Recognise, convert, prove equal and register a model as a new version of `name`: its champion, where there is none.

    Raises InvalidData for a file that is refused, does not convert or whose graph differs, InvalidParameter for a name that is no
    plain word and for samples that do not fit, ConfigurationError without its environment, Unavailable without the registry.
    """
    deployment.folder(Path(), name, "1")
    kind = formats.recognise(path)
    wanted = samples.given(given) if given else {}
    with tempfile.TemporaryDirectory() as scratch:
        tell(f"{path} is {FORMATS[kind].name} by its content; converting it in a process of its own")
        original = Path(shutil.copyfile(path, Path(scratch) / f"{_ORIGINAL}{FORMATS[kind].suffix}"))
        formats.recognise(original)  # what is looked at is what is read, whoever changes the file meanwhile
        folder = Path(scratch) / "converted"
        folder.mkdir()
        made = conversion.convert(original, kind, wanted, settings.project, folder, path)
        made, compared = _told(made, wanted, kind)
        _stamp(made)
        found = equality.prove(made.graph, made.inputs, made.answers)
        session = backends.choose("cpu").load(made.graph.read_bytes())
        serves, kind_of = kinds.of(session)
        kind_of.open(name, session)
        version, alias = _register(settings.registry, name, path.name, original, kind, made, found, compared)
        size = made.graph.stat().st_size
    return Imported(version, alias, FORMATS[kind].name, serves, session, found, compared, size)


def _told(made: Converted, wanted: Arrays, kind: str) -> tuple[Converted, str]:
    """Compare with the answers that the samples hold, where they do; say what was compared."""
    told = {name: _shaped(wanted[name], said) for name, said in made.answers.items() if name in wanted}
    rows = "given" if wanted else "drawn"
    if told:
        return replace(made, answers={**made.answers, **told}), f"the answers in the samples ({', '.join(told)})"
    if kind == "onnx":
        return made, f"itself without ONNX Runtime's optimisations, on {rows} rows"
    return made, f"the original on {rows} rows"


def _shaped(told: Array, said: Array) -> Array:
    """Return answers as the graph's output has them, where they differ in axes of length 1: a column of a table is [rows]."""
    same = [size for size in told.shape if size != 1] == [size for size in said.shape if size != 1]
    return told.reshape(said.shape) if same else told


def _stamp(made: Converted) -> None:
    """Write the names of the columns of a matrix into the graph. Raises InvalidData where it cannot be read."""
    if not made.columns or len(made.inputs) > 1:
        return
    import onnx

    try:
        graph = onnx.load(made.graph)
    except Exception as error:  # protobuf's own
        raise InvalidData(f"the converted graph must be readable, got {error}; convert it again") from error
    if not any(entry.key == COLUMNS for entry in graph.metadata_props):
        graph.metadata_props.add(key=COLUMNS, value=json.dumps(made.columns))
        made.graph.write_bytes(graph.SerializeToString())


def _register(
    registry: str, name: str, file: str, original: Path, kind: str, made: Converted, found: Equality, compared: str
) -> tuple[str, str]:
    from fleetml.serving.registry import Entry, Registry

    digests = {"graph": deployment.digest(made.graph), "original": deployment.digest(original)}
    about: dict[str, Any] = {
        "format": kind,
        "file": file,
        "sha256": digests["original"],
        "versions": dict(made.versions),
    }
    lineage = {
        "imported": about,
        "equality": {**asdict(found), "compared": compared},
        "model": {"sha256": digests["graph"], "metadata": {"family": f"imported {kind}"}},
        "target": name,
    }
    tags = {
        "fleetml.model_sha256": digests["graph"],
        "fleetml.imported": f"{FORMATS[kind].name}: {file}",
        "fleetml.original_sha256": digests["original"],
    }
    known = Registry(registry)
    alias = CHALLENGER if known.champion(name) else CHAMPION
    entry = Entry(
        graph=made.graph,
        run_name=f"import {file}",
        params={"family": "imported", "format": kind, **{f"version.{k}": v for k, v in made.versions.items()}},
        metrics={"difference_mean": found.mean, "difference_largest": found.largest, "difference_rows": found.rows},
        tags=tags,
        lineage=lineage,
        files={original.name: original},
        description=f"Imported from {file} ({FORMATS[kind].name}, SHA-256 {digests['original']}); compared with {compared}: "
        f"{found.rows} rows, mean difference {found.mean:.2g}, largest {found.largest:.2g}.",
    )
    return known.add(name, entry, alias), alias
