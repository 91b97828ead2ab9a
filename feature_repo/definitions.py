"""What Feast knows of the fleet: entities, views, services. Tables: docs/adr/0002."""

import inspect
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from feast import Entity, FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, ValueType
from feast.data_format import ParquetFormat
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Float64, Int64

from feature_repo import derived
from feature_repo.services import versioned

FEATURES = {
    "cpu_usage": "% of capacity",
    "memory_usage": "% of capacity",
    "disk_io": "kB/s, read + write",
    "network_io": "kB/s, received + sent",
    "latency": "ms",
    "error_rate": "1/s",
}
VIEW = "vm_metrics"
REFERENCES = tuple(f"{VIEW}:{name}" for name in FEATURES)
TTL = timedelta(hours=24)

VM = Entity(name="vm", join_keys=["vm_id"], value_type=ValueType.STRING, description="a virtual machine")
HOST = Entity(name="host", join_keys=["host"], value_type=ValueType.STRING, description="the machine that VMs run on")
REGION = Entity(name="region", join_keys=["region"], value_type=ValueType.STRING, description="where VMs run")
GROUPS = {"host_metrics": HOST, "region_metrics": REGION}
"""Views of the means over the VMs of a host or region, with their number, `vms`."""

SERVICE = "forecaster"
SERVICES = {SERVICE: (VIEW,), "fleet": (VIEW, *GROUPS, derived.VIEW)}
"""Feature services by name: the views they hold. Registered as `feature_repo.services.versioned` names them."""


def definitions(tables: Mapping[str, Path]) -> list[Any]:
    """Return entities, views and services over the tables (Parquet) given by view; views without a table are left out."""
    own = _view(VIEW, VM, tables[VIEW], _fields())
    views: dict[str, FeatureView | OnDemandFeatureView] = {VIEW: own}
    for name, entity in GROUPS.items():
        if name in tables:
            fields = [*_fields(), Field(name="vms", dtype=Int64, description="VMs it is the mean of")]
            views[name] = _view(name, entity, tables[name], fields)
    views[derived.VIEW] = OnDemandFeatureView(
        name=derived.VIEW,
        sources=[own],
        schema=[Field(name=name, dtype=Float64) for name in derived.FEATURES],  # Feast wants them as it infers them
        mode="python",
        feature_transformation=PythonTransformation(
            cast(FunctionType, derived.vm_load), inspect.getsource(derived.vm_load)
        ),
    )
    services = [
        _service(name, [views[view] for view in held]) for name, held in SERVICES.items() if {*held} <= {*views}
    ]
    return [VM, HOST, REGION, *views.values(), *services]


def registered(service: str, objects: Iterable[Any]) -> str:
    """Return the versioned name of a service among the objects of `definitions`."""
    names = (each.name for each in objects if isinstance(each, FeatureService))
    return next(name for name in names if name.rpartition("-")[0] == service)


def _fields() -> list[Field]:
    return [Field(name=name, dtype=Float64, description=unit) for name, unit in FEATURES.items()]


def _view(name: str, entity: Entity, table: Path, fields: list[Field]) -> FeatureView:
    source = FileSource(
        name=f"{name}_table",
        path=str(table),
        file_format=ParquetFormat(),  # DuckDB reads nothing without it
        timestamp_field="event_timestamp",
    )
    return FeatureView(name=name, entities=[entity], ttl=TTL, schema=fields, source=source, online=True)


def _service(name: str, views: Iterable[Any]) -> FeatureService:
    held = list(views)
    return FeatureService(name=versioned(name, held), features=held)
