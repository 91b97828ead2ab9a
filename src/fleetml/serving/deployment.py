"""The serving folder: what deploy writes and the server watches. Standard library only.

    deployment.json                        which version of each model is served
    server.json                            what the running server has loaded, or why it refused
    models/<name>/<version>/model.onnx     the graph, model.json (MASE, confidence, digest) and reference.parquet
    predictions/model=<name>/date=…/       the prediction log
    metrics/*.prom                         what /metrics of the server tells besides its own
    deploy.token                           lets whoever may read this folder ask the server: deploy does

Every file is written aside and renamed. Writers of ``deployment.json`` hold a lock, so that two models deployed at
once do not lose each other.
"""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from fleetml import atomic, lockfile
from fleetml.errors import ConfigurationError, InvalidParameter

POINTER = "deployment.json"
STATUS = "server.json"
MAY_ASK = "deploy.token"
GRAPH = "model.onnx"
CARD = "model.json"
REFERENCE = "reference.parquet"
PREDICTIONS = "predictions"
METRICS = "metrics"
VERDICTS = "monitor"
MODES = ("canary", "ab", "shadow")
_FORMAT = "fleetml/deployment/2"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Version(Protocol):
    """What is needed to load a version. `graph` is relative to the serving folder."""

    @property
    def version(self) -> str: ...

    @property
    def graph(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Rollout:
    """A second version beside the served one. `mode` is one of `MODES`; `share` of the VMs that it is asked for."""

    id: str
    mode: str
    share: float
    version: str
    graph: str
    sha256: str


@dataclass(frozen=True)
class Deployed:
    """One served version. `graph` is relative to the serving folder; `previous` is "" or the version before."""

    version: str
    graph: str
    sha256: str
    previous: str = ""
    rollout: Rollout | None = None


@dataclass(frozen=True)
class Card:
    """What deploy learnt of a version. `mase` on held-out windows, NaN: unknown; `metadata` is the model artifact's."""

    name: str
    version: str
    sha256: str
    mase: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        """1 / (1 + MASE): 0.5 is as good as the seasonal naive forecast, 1 is perfect; without a MASE what the metadata say, else 0."""
        return float(self.metadata.get("confidence", 0.0)) if self.mase is None else 1.0 / (1.0 + self.mase)


def folder(root: Path, name: str, version: str) -> Path:
    """Return the folder of one version. Raises InvalidParameter for a name or version that is no plain word."""
    for what, value in (("model", name), ("version", version)):
        if not _NAME.fullmatch(value):
            raise InvalidParameter(
                f"the {what} of a deployment consists of letters, digits, '.', '_' and '-', got {value!r}; rename it"
            )
    return root / "models" / name / version


def read(root: Path) -> dict[str, Deployed]:
    """Return what is served, by model name; nothing where nothing was deployed yet.

    Raises ConfigurationError for a ``deployment.json`` that is none.
    """
    path = root / POINTER
    try:
        models = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {name: deployed(entry) for name, entry in models.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} must be the deployment file that the deploy stage writes, got {error!r}; deploy a model again"
        ) from error


def install(root: Path, card: Card, files: Mapping[str, Path]) -> Path:
    """Copy `files` (name → source) and the card into the version's folder at once; return the folder.

    A folder left by an earlier attempt is replaced. Raises InvalidParameter (name, version), OSError.
    """
    target = folder(root, card.name, card.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{card.version}-", dir=target.parent) as scratch:
        aside = Path(scratch) / "new"
        aside.mkdir(mode=0o755)
        for name, source in files.items():
            shutil.copyfile(source, aside / name)
        atomic.write_json(aside / CARD, asdict(card))
        with contextlib.suppress(FileNotFoundError):
            target.rename(Path(scratch) / "old")
        aside.rename(target)
    return target


def card(graph: Path) -> Card | None:
    """Return the card beside a graph; None where there is none that can be read."""
    try:
        return Card(**json.loads((graph.parent / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def point(root: Path, name: str, version: str) -> Deployed | None:
    """Serve `version` of model `name` from now on; return what was served before. A rollout ends. Raises OSError."""
    graph, sha256 = _installed(root, name, version)
    with _writing(root) as models:
        before = models.get(name)
        previous = before.version if before and before.version != version else before.previous if before else ""
        models[name] = Deployed(version, graph, sha256, previous)
    return before


def restore(root: Path, name: str, version: str, before: Deployed | None) -> None:
    """Serve again what `point` said was served before `version`. Raises OSError.

    Where another version is served by now, that goes on, and `version` is not what it goes back to.
    """
    with _writing(root) as models:
        now = models.get(name)
        if now and now.version != version:
            models[name] = replace(now, previous=before.version if before else "") if now.previous == version else now
        elif before is None:
            models.pop(name, None)
        else:
            models[name] = before


def begin(root: Path, name: str, version: str, mode: str, share: float, now: datetime, instead: str = "") -> Rollout:
    """Ask an installed version beside the served one, for `share` of the VMs; return the rollout.

    `instead` is the id of a rollout that it takes the place of. Raises InvalidParameter where nothing is served, another
    rollout is under way, or the arguments make no rollout.
    """
    if mode not in MODES:
        raise InvalidParameter(f"the mode of a rollout must be one of {', '.join(MODES)}, got {mode!r}; correct it")
    graph, sha256 = _installed(root, name, version)
    made = Rollout(f"{version}-{now:%Y%m%dT%H%M%SZ}", mode, _share(share), version, graph, sha256)
    with _writing(root) as models:
        served = models.get(name)
        if served is None:
            raise InvalidParameter(f"a rollout needs a served version beside it, of {name} none is; deploy the version")
        if served.version == version:
            raise InvalidParameter(
                f"version {version} of {name} is served already; try another version beside it: fleetml models {name}"
            )
        if served.rollout and served.rollout.id != instead:
            raise InvalidParameter(
                f"model {name} has one rollout at a time, {served.rollout.id} is under way; end it before the next"
            )
        models[name] = replace(served, rollout=made)
    return made


def advance(root: Path, name: str, rollout: str, share: float) -> Rollout:
    """Change the share of the rollout with this id; return it.

    Raises InvalidParameter where that rollout is not under way (any more).
    """
    share = _share(share)
    with _writing(root) as models:
        served, current = _under_way(models, name, rollout)
        made = replace(current, share=share)
        models[name] = replace(served, rollout=made)
    return made


def end(root: Path, name: str, rollout: str, promote: bool) -> Deployed:
    """End the rollout with this id: serve its version from now on (`promote`), or what was served alone again.

    Returns what is served. Raises InvalidParameter where that rollout is not under way (any more).
    """
    with _writing(root) as models:
        served, current = _under_way(models, name, rollout)
        after = replace(served, rollout=None)
        if promote:
            after = Deployed(current.version, current.graph, current.sha256, served.version)
        models[name] = after
    return after


def go_back(root: Path, name: str, version: str) -> Deployed:
    """Serve what was served before `version`, and nothing before that; return it. A rollout ends.

    Raises InvalidParameter where another version is served by now, or there is none to go back to.
    """
    with _writing(root) as models:
        served = models.get(name)
        if served is None or served.version != version or not served.previous:
            now = served.version if served else "nothing"
            raise InvalidParameter(
                f"version {version} of {name} must be served and have a previous one to go back to, {now} is served; look again"
            )
        graph, sha256 = _installed(root, name, served.previous)
        models[name] = Deployed(served.previous, graph, sha256)
    return models[name]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def status(root: Path) -> dict[str, Any]:
    """Return what the server said last of itself (`fleetml.serving.models.Models.status`); {}: nothing."""
    return read_status(root / STATUS)


def token(root: Path) -> str:
    """Return what a server on this folder knows deploy by; "" where no server ever ran."""
    try:
        return (root / MAY_ASK).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def read_status(path: Path) -> dict[str, Any]:
    """The same of one file."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def deployed(entry: Mapping[str, Any]) -> Deployed:
    """Return what `asdict` made of one. Raises TypeError for what is none."""
    rollout = entry.get("rollout")
    return Deployed(**{**entry, "rollout": Rollout(**rollout) if rollout else None})


def _installed(root: Path, name: str, version: str) -> tuple[str, str]:
    """Return path (in the serving folder) and digest of an installed graph."""
    graph = folder(root, name, version) / GRAPH
    return str(graph.relative_to(root)), digest(graph)


def _share(share: float) -> float:
    if not 0 <= share <= 1:
        raise InvalidParameter(f"the share of a rollout must be from 0 to 1, got {share}; correct it")
    return float(share)


def _under_way(models: Mapping[str, Deployed], name: str, rollout: str) -> tuple[Deployed, Rollout]:
    served = models.get(name)
    if served is None or served.rollout is None or served.rollout.id != rollout:
        current = served.rollout.id if served and served.rollout else "none"
        raise InvalidParameter(f"rollout {rollout} of model {name} must be under way, {current} is; look again")
    return served, served.rollout


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[dict[str, Deployed]]:
    root.mkdir(parents=True, exist_ok=True)
    with lockfile.held(root / ".deployment.lock"):
        models = read(root)
        yield models
        document = {"format": _FORMAT, "models": {name: asdict(models[name]) for name in sorted(models)}}
        atomic.write_json(root / POINTER, document)
