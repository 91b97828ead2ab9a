"""How a source's columns become the canonical ones: a YAML file (its schema: README.md beside this file)."""

from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import polars as pl
import yaml

from fleetml.data import schema
from fleetml.errors import ConfigurationError, InvalidData

BUILT_IN = Path(__file__).parent / "mappings"
# Tried in this order; the first whose required columns are all there is taken.
RECOGNISED = ("canonical", "bitbrains", "bitbrains_parquet", "gift_eval")
UNITS = ("auto", "s", "ms", "us", "ns")


@dataclass(frozen=True)
class ColumnSource:
    """Where a canonical column comes from: value = column * scale + offset.

    `unit`, `format` (strptime) and `zone` (of times without one) are for timestamps; `file` "stem" takes the name
    of the file without its endings.
    """

    column: str = ""
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "auto"
    format: str = ""
    zone: str = "UTC"
    file: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Mapping:
    """A mapping of a table's columns; `separator` "" is detected in the header line."""

    name: str
    columns: MappingType[str, ColumnSource]
    constants: MappingType[str, Any] = field(default_factory=dict)
    separator: str = ""
    decimal: str = "."
    description: str = ""

    def missing(self, present: Sequence[str]) -> list[str]:
        """Return the required source columns that are not `present`."""
        required = (c.column for c in self.columns.values() if c.column and not c.optional)
        return [column for column in required if column not in present]

    def metrics(self, present: Sequence[str]) -> list[str]:
        """Return the canonical metrics that the `present` source columns give."""
        return [m for m in schema.METRICS if m in self.columns and self.columns[m].column in present]


@dataclass(frozen=True)
class Queries:
    """PromQL expressions by canonical metric; ``$labels`` and ``$window`` are filled in."""

    name: str
    queries: MappingType[str, str]
    vm_label: str = "instance"
    region_label: str = ""
    host_label: str = ""
    step_seconds: int = schema.STEP_SECONDS


def load(name: str) -> Mapping | Queries:
    """Return the mapping of a YAML file, or the built-in one of that name.

    Raises ConfigurationError naming the file, the key and what is allowed there.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else BUILT_IN / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.yaml")))
        raise ConfigurationError(f"mapping {name!r}: no such file; give a YAML file or one of {known}")
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"mapping {path} must be YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"mapping {path} must be a YAML mapping with 'columns' or 'queries'")
    return _queries(path, document) if "queries" in document else _mapping(path, document)


def _mapping(path: Path, document: dict[str, Any]) -> Mapping:
    allowed = {"columns", "constants", "separator", "decimal", "description"}
    _only(path, "the mapping", document, allowed)
    columns = document.get("columns")
    if not isinstance(columns, dict):
        raise ConfigurationError(f"mapping {path}: 'columns' must map canonical columns to source columns")
    constants = document.get("constants") or {}
    _only(path, "columns", columns, set(schema.NAMES))
    _only(path, "constants", constants, set(schema.NAMES))
    for key in schema.KEY:
        if key not in columns and key not in constants:
            raise ConfigurationError(f"mapping {path}: 'columns' must have {key}; add it")
    sources = {name: _source(path, name, value) for name, value in columns.items()}
    _constants(path, columns, constants)
    rest: dict[str, Any] = {key: document[key] for key in ("separator", "decimal", "description") if key in document}
    _texts(path, "the mapping", rest)
    for key in ("separator", "decimal"):
        if len(rest.get(key, ",")) != 1:
            raise ConfigurationError(f"mapping {path}: {key} must be one character, got {rest[key]!r}")
    return Mapping(path.stem, sources, constants, **rest)


def _constants(path: Path, columns: MappingType[str, Any], constants: MappingType[str, Any]) -> None:
    for name, value in constants.items():
        if name in columns:
            raise ConfigurationError(f"mapping {path}: {name} is a column and a constant; keep one")
        kind = str if schema.POLARS[name] == pl.String else (int, float)
        if name == "timestamp" or isinstance(value, bool) or not isinstance(value, kind):
            raise ConfigurationError(
                f"mapping {path}: constants.{name} must be a {'text' if kind is str else 'number'}, got {value!r}"
            )


def _texts(path: Path, where: str, found: MappingType[str, Any]) -> None:
    for key, value in found.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"mapping {path}: {where} needs a text for {key}, got {value!r}; quote it")


def _source(path: Path, name: str, value: Any) -> ColumnSource:
    if isinstance(value, str):
        return ColumnSource(column=value)
    where = f"columns.{name}"
    if not isinstance(value, dict):
        raise ConfigurationError(f"mapping {path}: {where} must be a column name or a mapping, got {value!r}")
    _only(path, where, value, {f.name for f in fields(ColumnSource)})
    for key in ("scale", "offset"):
        if not isinstance(value.get(key, 0.0), int | float):
            raise ConfigurationError(f"mapping {path}: {where}.{key} must be a number, got {value[key]!r}")
    _texts(path, where, {key: value[key] for key in ("column", "format", "zone", "file") if key in value})
    if value.get("zone", "UTC") not in available_timezones():
        raise ConfigurationError(f"mapping {path}: {where}.zone must be a time zone's name, got {value['zone']!r}")
    if value.get("unit", "auto") not in UNITS:
        raise ConfigurationError(f"mapping {path}: {where}.unit must be one of {', '.join(UNITS)}")
    if bool(value.get("column")) == (value.get("file") == "stem"):
        raise ConfigurationError(f"mapping {path}: {where} needs either 'column' or 'file: stem'")
    return ColumnSource(**value)


def _queries(path: Path, document: dict[str, Any]) -> Queries:
    _only(path, "the mapping", document, {"queries", "prometheus", "description"})
    settings, queries = document.get("prometheus") or {}, document["queries"]
    if not isinstance(queries, dict) or not queries:
        raise ConfigurationError(f"mapping {path}: 'queries' must map canonical metrics to PromQL, got {queries!r}")
    _only(path, "prometheus", settings, {"vm_label", "region_label", "host_label", "step_seconds"})
    _only(path, "queries", queries, set(schema.METRICS))
    _texts(path, "queries", queries)
    step = settings.get("step_seconds", 1)
    if not isinstance(step, int) or step < 1:
        raise ConfigurationError(f"mapping {path}: prometheus.step_seconds must be whole seconds, got {step!r}")
    _texts(path, "prometheus", {key: value for key, value in settings.items() if key != "step_seconds"})
    return Queries(path.stem, queries, **settings)


def _only(path: Path, where: str, found: Any, allowed: set[str]) -> None:
    unknown = sorted(set(found) - allowed)
    if unknown:
        raise ConfigurationError(
            f"mapping {path}: {where} has unknown {', '.join(map(repr, unknown))}; "
            f"allowed: {', '.join(sorted(allowed))}"
        )


def recognise(source: str, present: Sequence[str]) -> Mapping:
    """Return the built-in mapping that fits the `present` columns.

    Raises InvalidData naming the nearest format and the columns it misses.
    """
    candidates = [mapping for mapping in map(load, RECOGNISED) if isinstance(mapping, Mapping)]
    fits = [mapping for mapping in candidates if not mapping.missing(present) and mapping.metrics(present)]
    if fits:
        return fits[0]
    nearest = max(candidates, key=lambda m: _likeness(m, present))
    missing = nearest.missing(present) or ["any metric"]
    raise InvalidData(
        f"{source}: column {', '.join(map(repr, missing))} is missing (nearest known format: {nearest.name}); "
        f"found {_some(present)}; add the column, or describe yours with mapping=FILE.yaml "
        "(components/ingest/README.md)"
    )


def _likeness(mapping: Mapping, present: Sequence[str]) -> float:
    columns = [c.column for c in mapping.columns.values() if c.column]
    return sum(column in present for column in columns) / len(columns)


def require(source: str, mapping: Mapping, present: Sequence[str]) -> None:
    """Refuse a table that lacks columns which the mapping names."""
    if missing := mapping.missing(present):
        raise InvalidData(
            f"{source}: column {', '.join(map(repr, missing))} of mapping {mapping.name} is missing; "
            f"found {_some(present)}; correct the file or the mapping (a column that may be absent: optional: true)"
        )


def _some(names: Sequence[str], most: int = 14) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
