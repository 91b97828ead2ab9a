"""Forecast windows: what features hands to the searches, to evaluate and to serving's checks (docs/adr/0002)."""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fleetml.atomic import aside
from fleetml.data import STEP_SECONDS
from fleetml.errors import InvalidData

Floats = npt.NDArray[np.float32]
_LISTS = ("history", "covariates", "target")


@dataclass(frozen=True)
class Meta:
    """What a window's numbers mean, and a graph's: lengths are in steps of `step_seconds`.

    `target` is the name of what is forecast (bandwidth, cpu, …); `covariates` are Feast feature references in
    the order of the graph's second input, `feature_service` is the service that they belong to ("": none).
    """

    target: str = "bandwidth"
    step_seconds: int = STEP_SECONDS
    context: int = 288
    horizon: int = 48
    season: int = 288
    covariates: tuple[str, ...] = ()
    feature_service: str = ""

    def encode(self) -> dict[str, str]:
        """Return the values as text, as Parquet and ONNX metadata hold them; lists are JSON."""
        return {f.name: _text(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def decode(cls, entries: dict[str, str]) -> "Meta":
        """Return the meta that `encode` wrote; raises KeyError for a missing entry."""
        return cls(
            target=entries["target"],
            step_seconds=int(entries["step_seconds"]),
            context=int(entries["context"]),
            horizon=int(entries["horizon"]),
            season=int(entries["season"]),
            covariates=tuple(json.loads(entries["covariates"])),
            feature_service=entries.get("feature_service", ""),
        )


def _text(value: object) -> str:
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Windows:
    """N forecast origins.

    vm_id [N] str; origin [N] datetime64[us], UTC, the time of the last step of history; history [N, context]
    without NaN; covariates [N, C], NaN: absent; target [N, horizon] in the target's unit, NaN: missing, not scored;
    scale [N], the VM's in-sample seasonal-naive MAE, 0 or NaN: unknown, not scored. Floats are float32.
    """

    vm_id: npt.NDArray[np.str_]
    origin: npt.NDArray[np.datetime64]
    history: Floats
    covariates: Floats
    target: Floats
    scale: Floats
    meta: Meta = field(default_factory=Meta)

    def __len__(self) -> int:
        return len(self.vm_id)

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Windows":
        """Return the windows of these rows (a slice, a mask or an index array)."""
        chosen = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "meta"}
        return replace(self, **chosen)

    def save(self, path: Path) -> None:
        """Write the windows as one Parquet file, aside and renamed; meta goes into the schema's metadata."""
        columns: dict[str, pa.Array] = {
            "vm_id": pa.array(self.vm_id.tolist(), pa.string()),
            "origin": pa.array(self.origin.astype("datetime64[us]"), pa.timestamp("us")).cast(
                pa.timestamp("us", "UTC")
            ),
            **{name: _lists(getattr(self, name)) for name in _LISTS},
            "scale": pa.array(self.scale, pa.float32()),
        }
        table = pa.table(columns).replace_schema_metadata(dict(self.meta.encode()))
        with aside(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=16_384)


def _lists(values: Floats) -> pa.ListArray:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ravel(values), pa.float32()))


def load(path: Path) -> Windows:
    """Return the windows that `Windows.save` wrote. Raises InvalidData for a file that holds none."""
    try:
        table = pq.read_table(path)
        meta = Meta.decode({k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()})
        widths = {"history": meta.context, "covariates": len(meta.covariates), "target": meta.horizon}
        lists = {name: _matrix(table[name], table.num_rows, widths[name]) for name in _LISTS}
    except (OSError, KeyError, ValueError) as error:
        raise InvalidData(
            f"forecast windows must be a Parquet file written by the features stage, got {path} ({error}); "
            "run the features stage again"
        ) from error
    return Windows(
        vm_id=np.array(table["vm_id"].to_pylist(), dtype=str),
        origin=table["origin"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]"),
        scale=table["scale"].to_numpy().astype(np.float32),
        meta=meta,
        **lists,
    )


def _matrix(column: pa.ChunkedArray, rows: int, width: int) -> Floats:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32).reshape(rows, width)
