"""The folder of a deployment, ``<home>/deployments/<name>``: the document, and all that is made of it.

deployment.yaml            the document
kubernetes.yaml            Deployment, Service, autoscaler, disruption budget
kserve.yaml                InferenceService on triton/
triton/                    model repository
alerts.rules.yml           for Prometheus, where there are alerts
prometheus-adapter.yaml    configuration of the adapter that gives the autoscaler its metric, where there is one
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from fleetml import atomic
from fleetml.deploy import alerts, kserve, kubernetes, triton
from fleetml.deploy.spec import Deployment
from fleetml.deploy.versions import Candidate
from fleetml.errors import InvalidParameter

FOLDER = "deployments"
DOCUMENT = "deployment.yaml"


def place(home: Path, name: str) -> Path:
    """Return where a deployment of this name is kept."""
    return home / FOLDER / name


def known(home: Path) -> list[str]:
    """Return the names of the deployments that were made here."""
    return sorted(found.parent.name for found in (home / FOLDER).glob(f"*/{DOCUMENT}"))


def document(home: Path, name: str) -> Path:
    """Return the document of a deployment, by its file or its name. Raises InvalidParameter."""
    if Path(name).is_file():
        return Path(name)
    kept = place(home, name) / DOCUMENT
    if "/" in name or not kept.is_file():
        what = "is a folder" if Path(name).is_dir() else "is no file that is there"
        raise InvalidParameter(
            f"a deployment is a file, or the name of one that was made here ({', '.join(known(home)) or 'none'}), {name!r} {what}; "
            "correct it, or make it: fleetml deploy FILE"
        )
    return kept


def write(target: Path, text: str, spec: Deployment, candidates: Sequence[Candidate]) -> list[str]:
    """Write the folder aside, then put it in place of what was there; return the names in it. Raises InvalidData, OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        made = Path(scratch) / "new"
        made.mkdir(mode=0o755)
        _fill(made, text, spec, candidates)
        if target.exists():
            target.rename(Path(scratch) / "old")
        shutil.move(made, target)
    return sorted(path.name for path in target.iterdir())


def _fill(folder: Path, text: str, spec: Deployment, candidates: Sequence[Candidate]) -> None:
    atomic.write_text(folder / DOCUMENT, text)
    _dump(folder / "kubernetes.yaml", kubernetes.objects(spec))
    _dump(folder / "kserve.yaml", [kserve.service(spec)])
    triton.write(folder / "triton", spec, [(each.model, each.graph) for each in candidates])
    if spec.alerts:
        names = [model.name for model in spec.models]
        _dump(folder / "alerts.rules.yml", [alerts.rules(spec.name, names, spec.alerts)])
    if spec.autoscaling:
        _dump(folder / "prometheus-adapter.yaml", [alerts.adapter()])


def _dump(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    atomic.write_text(path, yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120))
