"""Where a version comes from: data, features, code, environment, parameters, run and what it cost.

The registry knows what the version was made of; the run's own record, where it is still there, what it was given and cost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetml.cost.estimate import Cost, figures, read, total
from fleetml.errors import ConfigurationError, FleetMLError
from fleetml.serving.registry_http import call

_TAGS = {
    "imported": "fleetml.imported",
    "original SHA-256": "fleetml.original_sha256",
    "data": "fleetml.data_uri",
    "data SHA-256": "fleetml.data_sha256",
    "data rows": "fleetml.data_rows",
    "training windows": "fleetml.train_windows",
    "feature service": "fleetml.feature_service",
    "covariates": "fleetml.covariates",
    "code commit": "fleetml.commit",
    "code and environment": "fleetml.code_sha256",
    "image": "fleetml.image",
    "model SHA-256": "fleetml.model_sha256",
    "model": "fleetml.model_metadata",
}


def of(uri: str, home: Path, name: str, version: str) -> list[tuple[str, str]]:
    """Return what a version comes from, as (what, which); what nobody recorded is left out.

    Raises ConfigurationError for a version that the registry does not know, Unavailable when it does not answer.
    """
    tags = tags_of(uri, name, version)
    run = tags.get("fleetml.run_id", "")
    found = [(what, tags.get(tag, "")) for what, tag in _TAGS.items()]
    return [line for line in [*found, ("run", run), *_of_run(home, run)] if line[1]]


def tags_of(uri: str, name: str, version: str) -> dict[str, str]:
    """Return the tags of a version. Raises ConfigurationError for one that is not known, Unavailable."""
    try:
        if uri.startswith("sqlite:"):
            from fleetml.serving.registry import Registry

            return Registry(uri).tags_of(name, version)
        found = call(uri, "GET", "/model-versions/get", {"name": name, "version": version})["model_version"]
    except ConfigurationError as error:
        from fleetml.serving.catalogue import no_version

        raise ConfigurationError(no_version(uri, name, version)) from error
    return {entry["key"]: entry["value"] for entry in found.get("tags", [])}


def spent(results: str, run: str) -> Cost | None:
    """Return what a run cost so far; None where its record is not here: it stands beside the folder `results`."""
    from fleetml.records import Run

    if not results:
        return None
    try:
        records = Run(Path(results).parent, run)
        steps = records.read()["steps"]
        return read(total(attempt.cost for step in steps for attempt in records.attempts(step) if attempt.cost))
    except (FleetMLError, OSError, ValueError):
        return None


def _of_run(home: Path, run: str) -> Iterator[tuple[str, str]]:
    from fleetml.records import Run

    try:
        record: dict[str, Any] = Run(home, run).read()
    except (FleetMLError, ConfigurationError, OSError, ValueError):
        yield "run's record", f"not in {home / 'runs'}" if run else ""
        return
    given = {key: value for key, value in record.get("parameters", {}).items() if value not in ("", {}, [])}
    yield (
        "pipeline",
        f"{record.get('pipeline', '')} (IR {str(record.get('digest', ''))[:12]}, engine {record.get('engine', '')})",
    )
    yield "parameters", ", ".join(f"{key}={value}" for key, value in given.items())
    if cost := record.get("cost"):
        yield "cost", figures(cost)
