"""One version of one model, loaded and tried."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml.learn.graph import InvalidGraph
from fleetml.serving import deployment, kinds, memory
from fleetml.serving.backends import Backend, Session
from fleetml.serving.deployment import Version
from fleetml.serving.kinds import Kind


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded version of any kind. `about` is what `Kind.open` made of it; `confidence` that of `deployment.Card`.

    `batchable`: the first axis of every input and output is free, so rows of several questions can go together.
    """

    name: str
    version: str
    sha256: str
    session: Session
    kind_name: str
    kind: Kind
    about: Any
    confidence: float
    batchable: bool


def load(root: Path, name: str, version: Version, backend: Backend) -> Model:
    """Load a version and try it as its kind does.

    Raises InvalidGraph for a graph that is missing, larger than memory, not what was deployed, not one that serves as `name`,
    or fails.
    """
    path = root / version.graph
    try:
        memory.check(path)
        content = path.read_bytes()
    except OSError as error:
        raise InvalidGraph(f"the deployed graph must exist, got {error}; deploy the model again") from error
    if (found := hashlib.sha256(content).hexdigest()) != version.sha256:
        raise InvalidGraph(f"{path} must have SHA-256 {version.sha256}, got {found}; deploy the model again")
    session = backend.load(content)
    kind_name, kind = kinds.of(session)
    about = kind.open(name, session)
    card = deployment.card(path)
    confidence = card.confidence if card else 0.0
    batchable = all(tensor.shape and tensor.shape[0] is None for tensor in (*session.inputs, *session.outputs))
    return Model(name, version.version, version.sha256, session, kind_name, kind, about, confidence, batchable)
