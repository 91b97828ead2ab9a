"""The executor contract of KFP v2, seen from outside the step: what goes in, what must come out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml import artifacts
from fleetml.errors import InvalidParameter, StepFailed
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import ArtifactDefinition
from fleetml.pipeline.values import cast, parse_parameter
from fleetml.redaction import Redactor

LARGEST = 131_071  # bytes; Linux takes no longer argument (MAX_ARG_STRLEN), so no runner does

# These hold their figures in their metadata; a file is theirs to leave out.
_METADATA_ONLY = ("system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics")
_NUMBERS_JSON_LACKS = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"}  # as protojson writes them


def executor_input(step: Step, inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Return the executor input of a step that writes its outputs below `folder`.

    Raises InvalidParameter when its JSON would be larger than any runner passes on.
    """
    document = {
        "inputs": {
            "parameterValues": inputs.parameters,
            "artifacts": {name: _list(items, step.input_artifacts[name]) for name, items in inputs.artifacts.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": str(_parameter_file(folder, name))} for name in step.output_parameters},
            "artifacts": {
                name: {"artifacts": [_wanted(definition, folder / name)]}
                for name, definition in step.output_artifacts.items()
            },
            "outputFile": str(folder / "executor_output.json"),
        },
    }
    _refuse_large(step, document)
    return document


def _parameter_file(folder: Path, name: str) -> Path:
    return folder / ".parameters" / name


def _list(items: list[dict[str, Any]], definition: ArtifactDefinition) -> dict[str, Any]:
    """Artifacts are always a list here; `isList` tells our own entry that one entry is meant as one, too."""
    entries = {"artifacts": [_given(item, definition) for item in items]}
    return {**entries, "isList": True} if definition.many else entries


def _given(item: Mapping[str, Any], definition: ArtifactDefinition) -> dict[str, Any]:
    return {
        "name": item.get("name", definition.name),
        "type": {"schemaTitle": item.get("type", definition.type), "schemaVersion": definition.version},
        # KFP's executor takes a URI as the path, and would open one named "file:".
        "uri": str(artifacts.local_path(item["uri"]) or item["uri"]),
        "metadata": item.get("metadata", {}),
    }


def _wanted(definition: ArtifactDefinition, path: Path) -> dict[str, Any]:
    kind = {"schemaTitle": definition.type, "schemaVersion": definition.version}
    return {"name": definition.name, "type": kind, "uri": str(path), "metadata": {}}


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def _refuse_large(step: Step, document: Mapping[str, Any]) -> None:
    size = _size(document)
    if size <= LARGEST:
        return
    values = {f"input parameter '{name}'": value for name, value in document["inputs"]["parameterValues"].items()}
    for name, entry in document["inputs"]["artifacts"].items():
        values[f"metadata of input artifact '{name}'"] = entry
    largest = max(values, key=lambda name: _size(values[name]), default="its outputs")
    raise InvalidParameter(
        f"the executor input of a step is at most {LARGEST:,} bytes, step '{step.name}' has {size:,}, most of it in "
        f"{largest} ({_size(values.get(largest, '')):,} bytes); hand it over as an artifact"
    )


def prepare(step: Step, folder: Path) -> None:
    """Make the folders that a step may expect to be there. Raises OSError."""
    if step.output_parameters:
        _parameter_file(folder, "").mkdir(parents=True, exist_ok=True)


def read_outputs(step: Step, folder: Path, here: bool = True) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return what a step that ended well left: parameters, and artifact entries with their content hashes.

    `here`: it ran on this machine; of one that ran in a container only `folder` is where it says.
    Raises StepFailed when a declared output is missing or is not what was declared, OSError when it cannot be read.
    """
    written = _document(step, folder)
    parameters = dict(_parameters(step, folder, written.get("parameterValues") or {}))
    made = {
        name: [_artifact(step, definition, folder, (written.get("artifacts") or {}).get(name) or {}, here)]
        for name, definition in step.output_artifacts.items()
    }
    return parameters, made


def refuse_secrets(
    step: Step, folder: Path, parameters: Mapping[str, Any], made: Mapping[str, Any], redactor: Redactor
) -> None:
    """Raise StepFailed when an output of a step holds one of its secrets, OSError when one cannot be read."""
    held = [f"output parameter '{name}'" for name, value in parameters.items() if redactor.holds(value)]
    held += [f"the metadata of output artifact '{name}'" for name, entry in made.items() if redactor.holds(entry)]
    if leak := redactor.leak(folder):
        held.append(f"the file {redactor.text(str(leak.relative_to(folder)))}")
    if held:
        raise StepFailed(
            f"outputs are kept and shown, so none may hold a secret; {held[0]} of step '{step.name}' does; leave it out"
        )


def _document(step: Step, folder: Path) -> dict[str, Any]:
    content = _written(folder / "executor_output.json", f"executor_output.json of step '{step.name}'")
    if content is None:
        return {}
    wrote = f"step '{step.name}' wrote {content[:80].decode(errors='replace')!r}"
    try:
        found = json.loads(content, parse_constant=_NUMBERS_JSON_LACKS.__getitem__)
        json.dumps(found, ensure_ascii=False).encode()  # JSON can escape half a character, which no file can hold
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"executor_output.json must be JSON, {wrote}: {error}") from error
    if not isinstance(found, dict):
        raise StepFailed(f"executor_output.json must be a JSON object, {wrote}")
    if not _is_output(found):
        raise StepFailed(
            "executor_output.json must be what KFP's contract says ({parameterValues: {…}, artifacts: {name: {artifacts: "
            f"[{{name, uri, metadata}}]}}}}}}), {wrote}; correct what the component writes"
        )
    return found


def _written(file: Path, place: str) -> bytes | None:
    """Return what a step wrote to a file, None where there is none. Raises StepFailed for what is no plain file.

    To read a pipe would take for ever, and a link may lead to anywhere.
    """
    if not os.path.lexists(file):
        return None
    if file.is_symlink() or not file.is_file():
        raise StepFailed(f"what a step writes is a file, {place} is a {artifacts.kind(file)}; write it as a file")
    return file.read_bytes()


def _is_output(found: Mapping[str, Any]) -> bool:
    values, made = found.get("parameterValues") or {}, found.get("artifacts") or {}
    if not (isinstance(values, dict) and isinstance(made, dict)):
        return False
    lists = [entry.get("artifacts") or [] if isinstance(entry, dict) else None for entry in made.values()]
    return all(isinstance(items, list) and all(map(_is_artifact, items)) for items in lists)


def _is_artifact(item: Any) -> bool:
    kinds = {"name": str, "uri": str, "metadata": dict}
    return isinstance(item, dict) and all(
        isinstance(item[key] or kind(), kind) for key, kind in kinds.items() if key in item
    )


def _parameters(step: Step, folder: Path, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The executor output's value, else the output parameter's own file; cast by declared type."""
    for name, parameter in step.output_parameters.items():
        place = f"output parameter '{name}' of step '{step.name}'"
        try:
            if name in values and values[name] is not None:
                yield name, cast(values[name], parameter.type, place)
            elif (content := _written(_parameter_file(folder, name), place)) is not None:
                yield name, parse_parameter(content.decode(), parameter.type, place)
            elif not parameter.optional:
                raise StepFailed(f"a step writes every output it declares, {place} was not written; return or write it")
        except InvalidParameter as error:
            raise StepFailed(str(error)) from error
        except UnicodeDecodeError as error:
            raise StepFailed(f"a parameter is a text in UTF-8, {place} is not ({error}); encode it") from error


def _fetch(written: str | None, target: Path, here: bool) -> None:
    """Copy what a step wrote to a path of its own (``Artifact.custom_path``) to where it belongs. Raises OSError."""
    if not here and not Path(os.path.realpath(written or "/")).is_relative_to(os.path.realpath(target.parent)):
        return  # or a container would be given any file of this machine
    if written and Path(written) != target and Path(written).exists():
        import shutil

        if Path(written).is_dir():
            shutil.copytree(written, target, symlinks=not here)
        else:
            shutil.copyfile(written, target)


def _belongs(path: Path | None, results: Path) -> bool:
    """Say whether a path is in the step's own folder, or in that of another result that it hands on."""
    return path is not None and path.resolve().is_relative_to(results.resolve())


def _artifact(
    step: Step, definition: ArtifactDefinition, folder: Path, written: Mapping[str, Any], here: bool
) -> dict[str, Any]:
    """The artifact's entry: as asked for, with what the step said of it and the hash of what it wrote."""
    said = (written.get("artifacts") or [{}])[0]
    _fetch(said.get("custom_path") or said.get("customPath"), folder / definition.name, here)
    uri = said.get("uri") or str(folder / definition.name)
    path = artifacts.local_path(uri)
    if path is not None and path.is_relative_to(folder) and (odd := artifacts.odd(path, folder)):
        raise StepFailed(
            f"an artifact is a file or a folder of them, output artifact '{definition.name}' of step '{step.name}' "
            f"holds {odd}; write files, links only to what lies beside them in it"
        )
    if "://" not in uri.removeprefix("file://") and not _belongs(path, folder.parent):
        raise StepFailed(
            f"an output lies where the step was told to write it, output artifact '{definition.name}' of step "
            f"'{step.name}' is said to be '{uri}'; write it to its path, or bring in what lies elsewhere with dsl.importer"
        )
    if path is None:  # a remote store: nobody knows its content, so nothing that reads it is cached
        content = ""
    elif path.exists():
        content = artifacts.digest(path)
    elif definition.type in _METADATA_ONLY or definition.optional:
        content = artifacts.NOTHING
    else:
        raise StepFailed(
            f"a step writes every output it declares, output artifact '{definition.name}' of step '{step.name}' "
            f"was not written to its path; write it, or declare it a system.Metrics if it is metadata only"
        )
    return {
        "name": said.get("name") or definition.name,
        "type": definition.type,
        "uri": uri,
        "digest": content,
        "metadata": said.get("metadata") or {},
    }
