"""An artifact that a pipeline brings in: no command is run for it."""

from __future__ import annotations

from typing import Any

from fleetml import artifact_store, artifacts
from fleetml.errors import InvalidParameter
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import Importer
from fleetml.pipeline.placeholders import fill
from fleetml.step.outcome import RunContext


def imported(importer: Importer, step: Step, inputs: Inputs, context: RunContext) -> dict[str, list[dict[str, Any]]]:
    """Return the artifact that is brought in. Raises InvalidParameter for one that is not there."""
    if importer.parameter and importer.parameter not in inputs.parameters:
        return {}  # an optional artifact of the pipeline that the run was not given
    uri = str(inputs.parameters.get(importer.parameter, importer.uri))
    path = artifacts.local_path(uri)
    if path is None and ("://" not in uri or uri.startswith("file:")):
        raise InvalidParameter(f"an importer's URI is a URL or an absolute path, got '{uri}'; give one")
    if path is not None and not path.exists():
        raise InvalidParameter(f"an importer brings in what is there, {path} is not; correct the URI")
    ((name, definition),) = step.output_artifacts.items()
    store = artifact_store.of(context.settings)
    entry = {
        "name": name,
        "type": definition.type,
        "uri": uri,
        "digest": artifacts.digest(path) if path else store.digest(uri) if store else "",  # "": nobody knows it
        "metadata": fill(dict(importer.metadata), inputs.parameters, context.names(step.name)),
    }
    return {name: [entry]}
