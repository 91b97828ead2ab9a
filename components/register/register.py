"""What the registry is told: scores, parameters and the lineage of a version."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.register import card, cost, origin, slices
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.serving import provenance
from fleetml.serving.aliases import CHALLENGER, CHAMPION
from fleetml.serving.deployment import MODES
from fleetml.serving.registry import Entry, Registry

CARD = "model_card.md"
ROOT = Path(__file__).parents[2]
_CODE = ("components", "src/fleetml/learn", "src/fleetml/data", "feature_repo")


def champion(model: Artifact, metrics: Artifact, registry: str, model_name: str) -> dict[str, Any]:
    """Write the champion's graph to `model` and return its version.

    Without a champion the version is "", the file is empty, the metadata say ``absent`` and the `model_name`.
    Raises Unavailable when the registry does not answer.
    """
    known = Registry(registry)
    version = known.champion(model_name)
    if version:
        lineage = known.fetch(model_name, version, model.path)
        model.log(**lineage.get("model", {}).get("metadata", {}), version=version)
    else:
        model.path.write_bytes(b"")
        model.log(absent=True, model_name=model_name)
    metrics.log(champion=f"version {version}" if version else "none yet")
    return {"version": version}


def register(
    model: Artifact,
    scores: Artifact,
    data: Artifact,
    train: Artifact,
    metrics: Artifact,
    registry: str,
    model_name: str,
    run_id: str,
    rollout: str = "",
    results: str = "",
) -> dict[str, Any]:
    """Record `model` as a new version; return the version.

    `results` is where the run's results are: beside them is its record, which tells what it cost so far. The version is the
    champion at once, or with `rollout` (canary, ab, shadow) the challenger of the one there is. Raises
    InvalidParameter for another rollout, InvalidData for scores that are none, Unavailable when the registry does not
    answer.
    """
    if rollout not in ("", *MODES):
        raise InvalidParameter(f"rollout must be empty or one of {', '.join(MODES)}, got {rollout!r}; correct it")
    judged = _scores(scores.path)
    lineage = {
        "run_id": run_id,
        "data": _dataset("data", data),
        "train": _dataset("train", train),
        "code_sha256": model.metadata.get("code_digest") or code_digest(),
        "model": {"sha256": _digest(model.path), "metadata": model.metadata},
        "commit": origin.commit(ROOT),
        "image": origin.image(),
        "features": origin.features(train),
        "target": judged.get("target", model_name),
        "champion_before": judged.get("champion_version", ""),
    }
    spent = provenance.spent(results, run_id)
    known = Registry(registry)
    alias = CHALLENGER if rollout and known.champion(model_name) else CHAMPION
    with tempfile.TemporaryDirectory() as scratch:
        cards = _cards(Path(scratch), judged, lineage, train, data)
        entry = Entry(
            graph=model.path,
            run_name=run_id or model_name,
            params=_params(model, judged),
            metrics={**_figures(judged, model.metadata.get("candidate", "")), **cost.metrics(spent)},
            tags={**_tags(lineage, model), **cost.tags(spent)},
            lineage=lineage,
            datasets=(lineage["data"], lineage["train"]),
            files={"scores.json": scores.path, **cards},
            description=cards[CARD].read_text(encoding="utf-8"),
        )
        version = known.add(model_name, entry, alias)
    before = judged.get("champion_version", "") or "nothing"
    metrics.log(version=version, **{"challenges" if alias == CHALLENGER else "replaces": before}, model=model_name)
    metrics.log(code_sha256=lineage["code_sha256"])
    if registry.startswith("http"):
        metrics.log(mlflow=f"{registry.rstrip('/')}/#/models/{model_name}/versions/{version}")
    return {"version": version}


def _cards(
    folder: Path, judged: Mapping[str, Any], lineage: Mapping[str, Any], train: Artifact, data: Artifact
) -> dict[str, Path]:
    """Write the model card as Markdown and as a page; return the files by name."""
    chosen = str(lineage["model"]["metadata"].get("candidate", ""))
    found = slices.of(judged, chosen, train.path, data.path)
    sections = card.parts(judged, chosen, lineage, found)
    title = f"{lineage['target']}: model card"
    texts = {CARD: card.markdown(title, sections), "model_card.html": card.page(title, sections, judged, found)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: folder / name for name in texts}


def code_digest() -> str:
    """Return the SHA-256 of the code that trains: names and contents of its Python files, in order."""
    files = sorted(file for part in _CODE for file in (ROOT / part).rglob("*.py"))
    content = hashlib.sha256()
    for file in files:
        content.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return content.hexdigest()


def _scores(path: Path) -> dict[str, Any]:
    try:
        judged = json.loads(path.read_text(encoding="utf-8"))
        return judged if isinstance(judged["candidates"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidData(
            f"scores must be the JSON that the evaluate stage writes, got {path} ({error!r}); run evaluate again"
        ) from error


def _dataset(name: str, artifact: Artifact) -> dict[str, Any]:
    import pyarrow.parquet as pq

    rows = pq.read_metadata(artifact.path).num_rows
    return {
        "name": name,
        "uri": artifact.uri,
        "sha256": _digest(artifact.path),
        "rows": rows,
        "metadata": artifact.metadata,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _params(model: Artifact, judged: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained, and how: family, windows, then the hyperparameters under their own names."""
    params = {"family": model.metadata.get("family", "")}
    params |= {key: judged[key] for key in ("target", "horizon", "step_seconds", "windows") if key in judged}
    hyper = model.metadata.get("hyperparameters") or {}
    return params | {_key(f"hyperparameter.{key}"): value for key, value in hyper.items()}


def _figures(judged: Mapping[str, Any], chosen: str) -> dict[str, float]:
    """The scores of every candidate as ``<figure>.<candidate>``, of the chosen one as ``<figure>`` too.

    What is no number is left out.
    """
    figures: dict[str, float] = {}
    for name, found in judged["candidates"].items():
        known = {figure: float(value) for figure, value in found.items() if isinstance(value, int | float)}
        figures |= {_key(f"{figure}.{name}"): value for figure, value in known.items()}
        if name == chosen:
            figures |= known
    return figures


def _tags(lineage: Mapping[str, Any], model: Artifact) -> dict[str, str]:
    data, train = lineage["data"], lineage["train"]
    return {
        "fleetml.run_id": lineage["run_id"],
        "fleetml.candidate": str(model.metadata.get("candidate", "")),
        "fleetml.code_sha256": lineage["code_sha256"],
        "fleetml.commit": lineage["commit"],
        "fleetml.image": lineage["image"],
        "fleetml.feature_service": lineage["features"]["service"],
        "fleetml.covariates": ", ".join(lineage["features"]["covariates"]),
        "fleetml.data_uri": data["uri"],
        "fleetml.data_sha256": data["sha256"],
        "fleetml.data_rows": str(data["rows"]),
        "fleetml.train_sha256": train["sha256"],
        "fleetml.train_windows": str(train["rows"]),
        "fleetml.model_sha256": lineage["model"]["sha256"],
        "fleetml.model_metadata": json.dumps(model.metadata, default=str),
    }


def _key(text: str) -> str:
    """MLflow's keys hold letters, digits and a few signs."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in text)
