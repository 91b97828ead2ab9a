"""OpenLineage events as they were sent: read, checked against the classes of their schemas, and made comparable."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetml import lineage
from fleetml.frozen import fields
from fleetml.outbox import Outbox
from fleetml.runners import Usage


def into(monkeypatch: pytest.MonkeyPatch, file: Path) -> Path:
    """Have events written to `file` by OpenLineage's own file transport, configured by its own variables."""
    for name, value in (("TYPE", "file"), ("LOG_FILE_PATH", str(file)), ("APPEND", "true")):
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__{name}", value)
    monkeypatch.setenv("OPENLINEAGE__FACETS__SOURCE_CODE_LOCATION__DISABLED", "true")
    anew(monkeypatch)
    return file


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the configuration read again, as another process would."""
    lineage._client.cache_clear()
    monkeypatch.setattr(lineage, "_outbox", Outbox("lineage", lineage._load))


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def check(event: dict[str, Any]) -> None:
    """Make the event of OpenLineage's classes: they refuse ids, times and fields that their schemas do not have."""
    from openlineage.client import event_v2 as events

    made = events.RunEvent(
        eventTime=event["eventTime"],
        producer=event["producer"],
        eventType=events.RunState[event["eventType"]],
        run=events.Run(event["run"]["runId"], facets(event["run"]["facets"])),
        job=events.Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"])),
        inputs=[events.InputDataset(d["namespace"], d["name"], facets=facets(d["facets"])) for d in event["inputs"]],
        outputs=[events.OutputDataset(d["namespace"], d["name"], facets=facets(d["facets"])) for d in event["outputs"]],
    )
    assert event["schemaURL"] == made.schemaURL


def facets(found: dict[str, Any]) -> dict[str, Any]:
    return {name: facet(value) for name, value in found.items()}


def facet(value: dict[str, Any]) -> Any:
    kind = known()[value["_schemaURL"]]
    if kind.__name__ == "RunFacet":  # one of our own: any fields
        return value
    fields = {name: plain for name, plain in value.items() if not name.startswith("_")}
    return kind(**fields, producer=value["_producer"])


def known() -> dict[str, Any]:
    """The facets of the specification by the URL of their schema."""
    from openlineage.client import generated

    def classes() -> Iterator[Any]:
        for module in pkgutil.iter_modules(generated.__path__):
            yield from vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values()

    return {kind._get_schema(): kind for kind in classes() if isinstance(kind, type) and hasattr(kind, "_get_schema")}


def comparable(events: list[dict[str, Any]]) -> list[str]:
    """Return events without times, ids, places on the disk and what measuring says, in a fixed order."""
    ids: dict[str, str] = {}
    for event in events:
        ids[event["run"]["runId"]] = f"<id of {event['job']['name']}>"
    texts = []
    for event in events:
        usage = event["run"]["facets"].get("fleetml_usage", {})
        for figure in (it.name for it in fields(Usage)):
            assert (usage.pop(figure, 0) or 0) >= 0
        text = json.dumps({**event, "eventTime": ""}, sort_keys=True)
        for run_id, name in ids.items():
            text = text.replace(run_id, name)
        text = re.sub(r'/[^" ]*/results/([\w-]+)-[0-9a-f]{16}', r"<results>/\1", text)
        texts.append(text)
    return sorted(texts)
