"""Files as lazy tables: a path, a folder, a pattern or an fsspec URL of CSV (.gz too) or Parquet."""

import gzip
import shutil
from collections import Counter
from pathlib import Path

import polars as pl

from components.ingest.mapping import Mapping
from fleetml.errors import InvalidData

CSV, PARQUET = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz"), (".parquet", ".pq")
FILE = "__file"  # the column that names the file a row came from
SEPARATORS = ",;\t|"


def locate(source: str, scratch: Path) -> list[Path]:
    """Return the files a source names, sorted; those of a remote URL are copied into `scratch` first.

    Raises InvalidData when there is none, or when the URL cannot be read.
    """
    if "://" in source and not source.startswith("file://"):
        found = _download(source, scratch)
    else:
        found = _local(source.removeprefix("file://"))
    endings = {_kind(path) for path in found}
    if endings == {"csv", "parquet"}:
        raise InvalidData(f"{source}: holds both CSV and Parquet files; give a pattern that matches one kind")
    empty = [path.name for path in found if path.stat().st_size == 0]
    if empty:
        raise InvalidData(
            f"{source}: {len(empty)} of {len(found)} files are empty: {', '.join(empty[:5])}; remove them"
        )
    return found


def _kind(path: Path) -> str:
    return "parquet" if path.name.lower().endswith(PARQUET) else "csv"


def _local(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(CSV + PARQUET))
    else:
        anchor = Path(path.anchor or ".")
        pattern = str(path.relative_to(anchor)) if path.anchor else str(path)
        found = sorted(p for p in anchor.glob(pattern) if p.is_file()) if any(c in source for c in "*?[") else []
    if not found:
        what = "holds no CSV or Parquet file" if path.is_dir() else "no such file or folder"
        remedy = "correct the path" if path.is_absolute() else "give an absolute path: a step has a folder of its own"
        raise InvalidData(f"source {source}: {what}; {remedy}")
    return found


def _download(url: str, scratch: Path) -> list[Path]:
    import fsspec  # slow to import, needed for remote sources alone

    try:
        system, root = fsspec.core.url_to_fs(url)
        names = _listed(system, root)
        for number, name in enumerate(names):
            # In folders of their own, for names may repeat; what follows "?" in a URL is no part of the name.
            target = scratch / f"{number:06d}" / Path(name.partition("?")[0]).name
            target.parent.mkdir(parents=True)
            with system.open(name, "rb") as remote, target.open("wb") as local:
                shutil.copyfileobj(remote, local, 1 << 20)
    except InvalidData:
        raise
    except Exception as error:  # every file system of fsspec has its own exceptions
        raise InvalidData(
            f"source {url} cannot be read: {type(error).__name__}: {error}; "
            "check the address, the network and the credentials of this machine"
        ) from error
    return sorted(path for path in scratch.rglob("*") if path.is_file())


def _listed(system, root: str) -> list[str]:  # type: ignore[no-untyped-def]
    if any(c in root for c in "*["):
        names = system.glob(root)
    elif system.isdir(root):
        names = [name for name in system.find(root) if name.lower().endswith(CSV + PARQUET)]
    else:
        names = [root]
    if not names:
        raise InvalidData(f"source {root}: matches no CSV or Parquet file; correct the address")
    return sorted(names)


def header(path: Path) -> str:
    """Return the first line of a CSV file, decompressed."""
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            return file.readline(1 << 20).decode("utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InvalidData(f"{path}: is no readable text ({error}); give CSV in UTF-8, gzip or not") from None


def separator(source: str, line: str, mapping: Mapping | None) -> str:
    """Return the separator of a CSV: the mapping's, else the most frequent candidate in its header line.

    Raises InvalidData when the mapping's separator does not split the header, but another one does.
    """
    counts = Counter({candidate: line.count(candidate) for candidate in SEPARATORS})
    likely, count = counts.most_common(1)[0]
    if mapping and mapping.separator:
        if mapping.separator not in line and count:
            raise InvalidData(
                f"{source}: separator {mapping.separator!r} of mapping {mapping.name} does not occur in the header "
                f"{line[:120]!r}, {likely!r} does {count} times; correct 'separator' in the mapping"
            )
        return mapping.separator
    if not count:
        raise InvalidData(
            f"{source}: the header {line[:120]!r} has no separator (looked for {', '.join(map(repr, SEPARATORS))}); "
            "give a CSV with a header line, or a mapping with 'separator'"
        )
    return ";" if ";\t" in line else likely


def scan(source: str, paths: list[Path], mapping: Mapping | None) -> pl.LazyFrame:
    """Return the files as one lazy table with stripped column names and `FILE`; CSV values are still text."""
    frame = _scan_parquet(source, paths) if _kind(paths[0]) == "parquet" else _scan_csv(source, paths, mapping)
    return frame.rename({name: name.strip() for name in frame.collect_schema().names()})


def _scan_parquet(source: str, paths: list[Path]) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(paths, include_file_paths=FILE)
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise InvalidData(f"{source}: is no readable Parquet: {first_line(error)}; write it again") from None
    return frame


def _scan_csv(source: str, paths: list[Path], mapping: Mapping | None) -> pl.LazyFrame:
    lines = {path: header(path) for path in paths}
    expected = lines[paths[0]]
    for path, line in lines.items():
        if line != expected:
            raise InvalidData(
                f"{source}: the header of {path.name} is {line[:120]!r}, that of {paths[0].name} {expected[:120]!r}; "
                "one run reads files of one format: give a pattern that matches one"
            )
    sep = separator(str(paths[0]), expected, mapping)
    names = [name.strip().strip('"') for name in expected.split(sep)]
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise InvalidData(f"{source}: column {twice[0]!r} stands twice in the header; remove one")
    # Text first: so that a number that is none can be counted and shown instead of failing the parser.
    return pl.scan_csv(paths, separator=sep, infer_schema=False, include_file_paths=FILE)


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
