"""Reading CSV and Parquet: a file, a folder of them, or a URL."""

import gzip
from pathlib import Path

import polars as pl

from fleetml.errors import InvalidData, InvalidParameter

FORMATS = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet", ".pq")}
_SEPARATORS = ",;\t|"
_NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]


def read(source: str, kind: str = "") -> pl.DataFrame:
    """Return the rows at `source` in the order of files and rows; `kind` is CSV, Parquet or "" (by the name).

    Raises InvalidParameter for another format, InvalidData for what cannot be read or holds no row.
    """
    kind = kind.lower()
    if kind and kind not in FORMATS:
        raise InvalidParameter(f"format must be one of {', '.join(FORMATS)}, got {kind!r}; convert the data")
    frames = [_frame(source, place, kind) for place in _places(source)]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InvalidData(f"files of one dataset have the same columns, {source}: {error}; separate them") from None
    if not len(frame):
        raise InvalidData(f"a dataset must hold rows, {source} has none; give another")
    return frame


def _places(source: str) -> list[str]:
    if "://" in source and not source.startswith("file://"):
        return [source]
    path = Path(source.removeprefix("file://")).expanduser()
    if not path.is_absolute():
        raise InvalidData(f"dataset {source}: a step has a folder of its own; give an absolute path or a URL")
    if path.is_dir():
        endings = tuple(ending for known in FORMATS.values() for ending in known)
        found = sorted(str(file) for file in path.iterdir() if file.name.lower().endswith(endings))
        if found:
            return found
        raise InvalidData(f"dataset {source}: the folder holds no CSV or Parquet file; correct the path")
    if not path.is_file():
        raise InvalidData(f"dataset {source}: no such file or folder; correct the path")
    return [str(path)]


def _frame(source: str, place: str, kind: str) -> pl.DataFrame:
    kind = kind or _kind(source, place)
    try:
        if "://" in place:
            import fsspec  # slow to import, needed for remote sources alone

            with fsspec.open(place, "rb", compression="infer") as remote:
                return _parsed(remote.read(), kind)
        return _parsed(Path(place), kind)
    except InvalidData as error:
        raise InvalidData(f"dataset {source}: {place}: {error}") from None
    except Exception as error:  # every file system of fsspec has its own exceptions
        said = " ".join(str(error).split())[:300]
        raise InvalidData(
            f"dataset {source}: {place} cannot be read as {kind}: {said}; correct the file or the format"
        ) from None


def _parsed(content: Path | bytes, kind: str) -> pl.DataFrame:
    if kind == "parquet":
        return pl.read_parquet(content)
    separator = _separator(content)
    _check_names(content, separator)
    return pl.read_csv(content, separator=separator, null_values=_NULLS, infer_schema_length=None, try_parse_dates=True)


def _check_names(content: Path | bytes, separator: str) -> None:
    """Raise InvalidData for a column's name that stands twice: the second would be learnt from under a name nobody gave."""
    header = pl.read_csv(content, separator=separator, has_header=False, n_rows=1, infer_schema=False)
    names = [name for name in header.row(0) if name]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        told = ", ".join(map(repr, twice))
        raise InvalidData(f"columns of a CSV have different names, {told} more than once; rename or drop one")


def _separator(content: Path | bytes) -> str:
    """Return the separator that occurs most often in the header line."""
    raw = content if isinstance(content, bytes) else b""
    if isinstance(content, Path):
        with gzip.open(content) if content.name.endswith(".gz") else content.open("rb") as file:
            raw = file.read(1 << 16)
    header = raw.partition(b"\n")[0].decode("utf-8", "replace")
    return max(_SEPARATORS, key=header.count)


def _kind(source: str, place: str) -> str:
    for kind, endings in FORMATS.items():
        if place.lower().partition("?")[0].endswith(endings):
            return kind
    raise InvalidData(f"dataset {source}: the name of {place} tells no format; give format: csv or parquet")
