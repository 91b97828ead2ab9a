"""Source columns to canonical ones by polars expressions, and the report on values that cannot be converted."""

import polars as pl

from components.ingest.files import FILE, first_line
from components.ingest.mapping import ColumnSource, Mapping
from fleetml.data import schema
from fleetml.errors import InvalidData

BAD = "__bad"
# What programs write where there is no value; compared in lower case.
NOTHING = ("", "na", "n/a", "nan", "null", "none")
# Epochs below each bound (the year 5138 in that unit) are taken for that unit: microseconds per unit.
EPOCHS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0))
MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


def canonical(frame: pl.LazyFrame, mapping: Mapping) -> pl.LazyFrame:
    """Return the canonical columns and `BAD`: whether the row holds a value that could not be converted."""
    present = frame.collect_schema()
    columns, bad = [], []
    for name, source in _used(mapping, present).items():
        raw = _raw(source, present)
        value = _value(name, source, raw, present, mapping.decimal).alias(name)
        columns.append(value)
        bad.append(raw.is_not_null() & value.is_null())
    constants = [pl.lit(v, dtype=schema.POLARS[name]).alias(name) for name, v in mapping.constants.items()]
    flagged = frame.select(*columns, *constants, pl.any_horizontal(bad).alias(BAD))
    absent = [pl.lit(None, dtype=dtype).alias(n) for n, dtype in schema.POLARS.items() if n not in _names(flagged)]
    return flagged.with_columns(absent).select(*schema.NAMES, BAD)


def _names(frame: pl.LazyFrame) -> list[str]:
    return frame.collect_schema().names()


def _used(mapping: Mapping, present: pl.Schema) -> dict[str, ColumnSource]:
    return {name: source for name, source in mapping.columns.items() if source.file or source.column in present}


def _raw(source: ColumnSource, present: pl.Schema) -> pl.Expr:
    """The source value, text stripped and the words for 'nothing' made null."""
    if source.file:
        return pl.col(FILE).str.extract(r"([^/\\]+?)(\.[A-Za-z]+)*$", 1)
    column = pl.col(source.column)
    if present[source.column] == pl.String:
        stripped = column.str.strip_chars()
        return pl.when(stripped.str.to_lowercase().is_in(NOTHING)).then(None).otherwise(stripped)
    return column.fill_nan(None) if present[source.column].is_float() else column


def _value(name: str, source: ColumnSource, raw: pl.Expr, present: pl.Schema, decimal: str) -> pl.Expr:
    dtype = pl.String() if source.file else present[source.column]
    if name == "timestamp":
        return _timestamp(source, raw, dtype)
    if schema.POLARS[name] == pl.String:
        return raw.cast(pl.String)
    return _number(source, raw, dtype, decimal)


def _number(source: ColumnSource, raw: pl.Expr, dtype: pl.DataType, decimal: str) -> pl.Expr:
    if dtype == pl.String and decimal != ".":
        raw = raw.str.replace(decimal, ".", literal=True)
    number = raw.cast(pl.Float64, strict=False)
    if source.scale != 1.0:
        number = number * source.scale
    return number + source.offset if source.offset else number


def _timestamp(source: ColumnSource, raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        moment = raw.cast(pl.Datetime("us", getattr(dtype, "time_zone", None)))
        return moment.dt.convert_time_zone("UTC") if getattr(dtype, "time_zone", None) else _zoned(moment, source)
    if source.format:
        return _zoned(raw.cast(pl.String).str.to_datetime(source.format, strict=False, time_unit="us"), source)
    epoch = _epoch(source, raw.cast(pl.Float64, strict=False))
    if dtype != pl.String:
        return epoch
    text = raw.str.replace(" ", "T", literal=True)
    offset = text.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    naive = [
        text.str.to_datetime(form, strict=False, time_unit="us")
        for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
    ]
    return pl.coalesce(epoch, offset, _zoned(pl.coalesce(naive), source))


def _zoned(moment: pl.Expr, source: ColumnSource) -> pl.Expr:
    zoned = moment.dt.replace_time_zone(source.zone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _epoch(source: ColumnSource, number: pl.Expr) -> pl.Expr:
    """Epoch to time; the unit "auto" goes by magnitude, whatever the header says (Bitbrains: seconds headed ms)."""
    number = number * source.scale + source.offset
    if source.unit != "auto":
        microseconds = number * MICROSECONDS[source.unit]
    else:
        microseconds = number * 1e-3
        for bound, factor in reversed(EPOCHS):
            microseconds = pl.when(number.abs() < bound).then(number * factor).otherwise(microseconds)
    return microseconds.round().cast(pl.Int64, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def refuse_bad(source: str, frame: pl.LazyFrame, mapping: Mapping) -> None:
    """Raise InvalidData that counts and shows, column by column, what could not be converted."""
    present = frame.collect_schema()
    findings = []
    for name, column in _used(mapping, present).items():
        raw = _raw(column, present)
        bad = raw.is_not_null() & _value(name, column, raw, present, mapping.decimal).is_null()
        shown = pl.concat_str([pl.col(FILE).str.extract(r"([^/\\]+)$", 1), raw.cast(pl.String)], separator=": ")
        found = frame.select(bad.sum().alias("count"), shown.filter(bad).head(5).implode().alias("examples"))
        count, examples = found.collect(engine="streaming").row(0)
        if count:
            kind = "time" if name == "timestamp" else "number"
            findings.append(f"column {column.column!r} ({name}) must be a {kind}; {count} are not, e.g. {examples}")
    raise InvalidData(f"{source}: {'; '.join(findings)}; correct the file or the mapping (separator, decimal, format)")


def collect(source: str, frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a query over a source, streaming; what its files break is InvalidData."""
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise InvalidData(
            f"{source}: cannot be read as a table: {first_line(error)}; check that every line has as many fields "
            "as the header, quotes are closed and the text is UTF-8"
        ) from None
