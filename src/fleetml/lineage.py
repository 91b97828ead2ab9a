"""OpenLineage events of runs and steps, from where every engine passes: START, then COMPLETE, FAIL or ABORT.

Configured by OpenLineage's own means: OPENLINEAGE_URL, OPENLINEAGE__TRANSPORT__…, OPENLINEAGE_CONFIG, openlineage.yml;
without them nothing is imported or sent. Ids are made of those of the run, so all processes of a run agree on them.
A dataset is an output of a step, ``<pipeline>.<step>.<output>``; its version is the digest of its content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fleetml import __version__
from fleetml.artifacts import NOTHING, local_path
from fleetml.errors import ConfigurationError
from fleetml.outbox import Outbox
from fleetml.redaction import mapped, without_passwords

if TYPE_CHECKING:
    from fleetml.pipeline import Inputs, Step
    from fleetml.records import Attempt, Run

_PRODUCER = f"urn:fleetml:{__version__}"
_FACET = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
_ENDS = {"succeeded": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}
_outbox = Outbox("lineage", lambda: _load())


def configured() -> bool:
    """Say whether OpenLineage would find a transport."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    wanted = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
    if any(name.startswith(wanted) for name in os.environ):
        return True
    places = ("openlineage.yml", f"{os.environ.get('HOME', '')}/.openlineage/openlineage.yml")
    return any(map(os.path.isfile, places))


def run_started(run: Run) -> None:
    """Tell that a run began, or goes on."""
    if configured():
        document, now = run.read(), _now()
        _outbox.put(lambda: _emit("START", now, _run_id(run), document["pipeline"], _of_run(run, document)))


def run_ended(run: Run) -> None:
    """Tell how a run ended, and wait a moment for what is still to be sent."""
    if configured():
        document, now = run.read(), _now()
        state = _ENDS.get(document["state"], "FAIL")
        _outbox.put(lambda: _emit(state, now, _run_id(run), document["pipeline"], _of_run(run, document)))
        flush()


def step_started(run: Run, pipeline: str, step: Step, inputs: Inputs, attempt: int) -> None:
    """Tell that an attempt of a step began."""
    if configured():
        now = _now()

        def send() -> None:
            facets = _of_step(run, pipeline, step)
            _emit(
                "START",
                now,
                _step_id(run, step, attempt),
                _job(pipeline, step),
                facets,
                _given(run, pipeline, step, inputs),
            )

        _outbox.put(send)


def step_ended(run: Run, pipeline: str, step: Step, inputs: Inputs, attempt: Attempt) -> None:
    """Tell how an attempt of a step ended; what stands in its record is without secrets."""
    if configured():
        now = _now()

        def send() -> None:
            job, facets = _job(pipeline, step), _of_step(run, pipeline, step, attempt)
            given, made = _given(run, pipeline, step, inputs), _made(pipeline, step, attempt)
            _emit(_ENDS[attempt.state], now, _step_id(run, step, attempt.number), job, facets, given, made)

        _outbox.put(send)


def flush() -> None:
    """Wait until all is sent, but not for a server that takes nothing: a process calls it before it ends."""
    _outbox.flush()


def _now() -> str:
    from datetime import UTC, datetime  # here, as a run that tells nobody needs none

    return datetime.now(UTC).isoformat()


def _run_id(run: Run) -> str:
    return _id(run.run_id)


def _step_id(run: Run, step: Step, attempt: int) -> str:
    return _id(f"{run.run_id}/{step.name}/{attempt}")


def _id(name: str) -> str:
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"fleetml:{name}"))


def _job(pipeline: str, step: Step) -> str:
    return f"{pipeline}.{step.name.replace('/', '.')}"


def _namespace() -> str:
    return os.environ.get("OPENLINEAGE_NAMESPACE", "") or "fleetml"


def _load() -> None:
    """Make the client. Raises ConfigurationError where it would go on without the file that it was given."""
    place = os.environ.get("OPENLINEAGE_CONFIG", "")
    if place and not os.access(place, os.R_OK):
        raise ConfigurationError(f"OPENLINEAGE_CONFIG names a readable file, {place} is none; correct or unset it")
    from openlineage.client import event_v2, facet_v2  # noqa: F401

    _client()


@cache
def _client() -> Any:
    from openlineage.client import OpenLineageClient

    return OpenLineageClient()


Facets = tuple[dict[str, Any], dict[str, Any]]
"""Those of the run, those of the job."""


def _emit(
    state: str,
    now: str,
    run_id: str,
    job: str,
    facets: Facets,
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
) -> None:
    from openlineage.client import event_v2 as events

    _client().emit(
        events.RunEvent(
            eventTime=now,
            producer=_PRODUCER,
            eventType=events.RunState[state],
            run=events.Run(run_id, facets[0]),
            job=events.Job(_namespace(), job, facets[1]),
            inputs=inputs or [],
            outputs=outputs or [],
        )
    )


def _of_run(run: Run, document: Mapping[str, Any]) -> Facets:
    from openlineage.client import facet_v2 as facets

    attempts = run.latest().values() if document["state"] == "failed" else ()
    failed = next((attempt for attempt in attempts if attempt.failure), None)
    source = run.pipeline.read_text(encoding="utf-8") if run.pipeline.is_file() else ""
    return (
        {**_common(document.get("parameters")), **(_error(failed) if failed else {})},
        {
            "jobType": facets.job_type_job.JobTypeJobFacet("BATCH", "FLEETML", "PIPELINE", producer=_PRODUCER),
            "sourceCode": facets.source_code_job.SourceCodeJobFacet("YAML", source, producer=_PRODUCER),
        },
    )


def _of_step(run: Run, pipeline: str, step: Step, attempt: Attempt | None = None) -> Facets:
    from openlineage.client import facet_v2 as facets

    parent = facets.parent_run
    source = "\n".join([*step.container.command, *step.container.args])
    found = {
        **_common((attempt.inputs or {}).get("parameters") if attempt else None),
        "parent": parent.ParentRunFacet(
            parent.Run(_run_id(run)),
            parent.Job(_namespace(), pipeline),
            parent.Root(parent.RootRun(_run_id(run)), parent.RootJob(_namespace(), pipeline)),
            producer=_PRODUCER,
        ),
    }
    if attempt:
        usage = {**(attempt.usage or {}), "cached": attempt.cached, "attempt": attempt.number}
        found["fleetml_usage"] = {"_producer": _PRODUCER, "_schemaURL": _FACET, **usage}
        found |= _error(attempt) if attempt.failure else {}
    return found, {
        "jobType": facets.job_type_job.JobTypeJobFacet("BATCH", "FLEETML", "STEP", producer=_PRODUCER),
        "sourceCode": facets.source_code_job.SourceCodeJobFacet(
            "PYTHON" if "python" in source else "SHELL", source, producer=_PRODUCER
        ),
    }


def _common(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    from openlineage.client import facet_v2 as facets

    kind = facets.execution_parameters_run
    shown = mapped(dict(parameters or {}), without_passwords)
    given = [kind.ExecutionParameter(key=name, name=name, value=str(value)) for name, value in shown.items()]
    return {
        "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(
            __version__, "FleetML", producer=_PRODUCER
        ),
        **({"executionParameters": kind.ExecutionParametersRunFacet(given, producer=_PRODUCER)} if given else {}),
    }


def _error(attempt: Attempt) -> dict[str, Any]:
    from openlineage.client import facet_v2 as facets

    failure = attempt.failure or {}
    message = ": ".join(filter(None, (failure["type"], failure["message"])))
    place = f'File "{failure["file"]}", line {failure["line"]}' if failure.get("file") else None
    return {"errorMessage": facets.error_message_run.ErrorMessageRunFacet(message, "PYTHON", place, producer=_PRODUCER)}


def _given(run: Run, pipeline: str, step: Step, inputs: Inputs) -> list[Any]:
    """Return a step's inputs, named after the outputs they are; what no step of the run made is named after its URI."""
    from openlineage.client import event_v2 as events

    entries = [item for items in inputs.artifacts.values() for item in items]
    names = dict(_producers(run, pipeline, step)) if entries else {}
    found = {}
    for entry in entries:
        namespace, name = names.get(entry["uri"]) or _physical(entry["uri"])
        found[namespace, name] = events.InputDataset(namespace, name, facets=_dataset(entry))
    return list(found.values())


def _made(pipeline: str, step: Step, attempt: Attempt) -> list[Any]:
    from openlineage.client import event_v2 as events

    outputs = (attempt.outcome or {}).get("artifacts") or {}
    return [
        events.OutputDataset(_namespace(), f"{_job(pipeline, step)}.{output}", facets=_dataset(entry))
        for output, entries in outputs.items()
        for entry in entries
    ]


def _producers(run: Run, pipeline: str, step: Step) -> Iterator[tuple[str, tuple[str, str]]]:
    for before in step.reads:
        attempts = run.attempts(before)
        outcome = (attempts[-1].outcome if attempts else None) or {}
        for output, entries in (outcome.get("artifacts") or {}).items():
            for entry in entries:
                yield entry["uri"], (_namespace(), f"{pipeline}.{before.replace('/', '.')}.{output}")


def _dataset(entry: Mapping[str, Any]) -> dict[str, Any]:
    from openlineage.client import facet_v2 as facets

    kind = "MODEL" if entry["type"] == "system.Model" else "FILE"
    place = facets.symlinks_dataset.Identifier(*_physical(entry["uri"]), type="LOCATION")
    found = {
        "datasetType": facets.dataset_type_dataset.DatasetTypeDatasetFacet(kind, entry["type"], producer=_PRODUCER),
        "symlinks": facets.symlinks_dataset.SymlinksDatasetFacet([place], producer=_PRODUCER),
    }
    if entry["digest"] not in ("", NOTHING):
        version = facets.dataset_version_dataset.DatasetVersionDatasetFacet(entry["digest"], producer=_PRODUCER)
        found["version"] = version
    return found


def _physical(uri: str) -> tuple[str, str]:
    """Return namespace and name of what lies at a URI, as OpenLineage's naming has them."""
    if path := local_path(uri):
        return "file", str(path)
    scheme, _, rest = without_passwords(uri).partition("://")
    place, _, name = rest.partition("/")
    return f"{scheme}://{place}", name or "/"
