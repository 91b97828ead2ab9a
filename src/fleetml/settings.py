"""Settings of this installation: one frozen value, made once by the CLI or the DAG loader."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.cost.settings import CostSettings
from fleetml.errors import ConfigurationError
from fleetml.frozen import field, frozen
from fleetml.redaction import without_passwords

TABLE = Path("images/images.toml")


ABOUT = ("source", "mapping", "target")
"""What every pipeline means the same by."""


@frozen
class Subject:
    """What the models are about, for runs that nobody gives parameters by hand (schedules, drift): the last trained.

    `source` and `mapping` are those of `ingest` ("": the synthetic fleet), `target` names the model. `given` are the other
    parameters that were given by hand then, of `pipeline`: a retrain makes what was trained, not something else.
    """

    source: str = ""
    mapping: str = ""
    target: str = "bandwidth"
    pipeline: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Path) -> Subject:
        """Return what `write` left in `home`, the defaults where there is nothing readable."""
        try:
            found = json.loads((home / "subject.json").read_text())
            about = {name: str(found[name]) for name in ABOUT}
            return cls(**about, pipeline=str(found.get("pipeline", "")), given=dict(found.get("given", {})))
        except (OSError, ValueError, LookupError, TypeError):
            return cls()

    def write(self, home: Path) -> None:
        """Keep it for the runs to come. Raises OSError."""
        atomic.write_json(home / "subject.json", vars(self))


@frozen
class CacheChoice:
    """Which index the cache has: none, memory, disk, redis, or hybrid (disk, then redis). `ttl` in seconds, 0: for ever."""

    kind: str = "disk"
    url: str = field(default="", repr=False)  # may hold a password
    ttl: float = 0.0

    @classmethod
    def parse(cls, store: str, ttl: str) -> CacheChoice:
        """Read FLEETML_CACHE and FLEETML_CACHE_TTL, "" for the default. Raises ConfigurationError."""
        kind, _, url = store.partition(":")
        if kind in ("redis", "rediss", "unix"):
            kind, url = "redis", store
        remote = kind in ("redis", "hybrid")
        if (
            kind not in ("", "none", "memory", "disk", "redis", "hybrid")
            or remote != ("://" in url)
            or (url and not remote)
        ):
            raise ConfigurationError(
                "FLEETML_CACHE is none, memory, disk, redis://host:port/number or hybrid:redis://host:port/number, "
                f"got '{kind}{':' if url else ''}{url.rpartition('@')[2]}'; mend or unset it"
            )
        if remote:
            _require_redis()
        return cls(kind or "disk", url if remote else "", _seconds("FLEETML_CACHE_TTL", ttl))


def _require_redis() -> None:
    from importlib.util import find_spec

    if find_spec("redis") is None:
        raise ConfigurationError(
            "FLEETML_CACHE names a Redis, its client is not installed here: pip install fleetml[redis]"
        )


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"{name} is a number of seconds from 0 (for ever), got {text!r}; mend or unset it")
    return seconds


@frozen
class Settings:
    """Where things are. Paths are absolute; addresses are URLs or host:port, "" when there is none.

    `step_variables` names further environment variables that steps receive from ours (credentials of a
    remote store, say); nothing else leaks into a step. `cost` is what energy, money and CO2 are reckoned by.
    `store` is where results are put for other machines, an fsspec URL such as s3://bucket/prefix.
    `runner` is a name of `fleetml.runners.choice`; `mounts` are folders that containers see beside their artifacts.
    Pods are in `kubernetes_namespace`; `kubernetes_claim` is its volume claim that is mounted here as `home` ("": every
    node has that folder).
    `studies` is the database of searches that several steps share, postgresql:// without a password ("": each run's workspace).
    `alert_webhook` is the URL, a secret, that the stack tells of alerts ("": nobody).
    """

    project: Path
    home: Path
    registry: str
    serving_dir: Path
    serving_address: str
    feature_store: Path
    subject: Subject = field(default_factory=lambda: Subject())
    step_variables: tuple[str, ...] = ()
    cost: CostSettings = field(default_factory=CostSettings)
    cache: CacheChoice = field(default_factory=lambda: CacheChoice())
    runner: str = "subprocess"
    mounts: tuple[Path, ...] = ()
    kubernetes_namespace: str = "default"
    kubernetes_claim: str = ""
    store: str = ""
    studies: str = ""
    alert_webhook: str = field(default="", repr=False)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, cwd: Path | None = None, rootless: bool = False
    ) -> Settings:
        """Read the FLEETML_* variables, then ``stack.json`` of a running stack, then the defaults.

        Raises ConfigurationError when no project root (a folder with images/images.toml) is found; where `rootless`,
        `cwd` is the project then: pipelines can be read there, but no step can run.
        """
        environ = os.environ if environ is None else environ
        project = _project(environ, Path.cwd() if cwd is None else cwd, rootless)
        home = Path(environ.get("FLEETML_HOME") or project / ".fleetml").expanduser().absolute()
        stack = _stack(home)
        return cls(
            project=project,
            home=home,
            registry=_open(environ, "FLEETML_REGISTRY")
            or stack.get("registry")
            or f"sqlite:///{home}/registry/mlflow.db",
            store=_open(environ, "FLEETML_STORE").rstrip("/"),
            studies=_studies(environ),
            alert_webhook=environ.get("FLEETML_ALERT_WEBHOOK", ""),
            serving_dir=Path(environ.get("FLEETML_SERVING_DIR") or home / "serving").expanduser().absolute(),
            serving_address=environ.get("FLEETML_SERVING_ADDRESS") or stack.get("serving") or "",
            feature_store=Path(environ.get("FLEETML_FEATURE_STORE") or home / "feature_store").expanduser().absolute(),
            subject=Subject.read(home),
            step_variables=tuple(environ.get("FLEETML_STEP_VARIABLES", "").replace(",", " ").split()),
            cost=CostSettings.from_environment(environ),
            cache=CacheChoice.parse(environ.get("FLEETML_CACHE", ""), environ.get("FLEETML_CACHE_TTL", "")),
            runner=environ.get("FLEETML_RUNNER") or "subprocess",
            mounts=_folders(environ.get("FLEETML_MOUNTS", "")),
            kubernetes_namespace=environ.get("FLEETML_KUBERNETES_NAMESPACE") or "default",
            kubernetes_claim=environ.get("FLEETML_KUBERNETES_VOLUME_CLAIM", ""),
        )

    def variables(self) -> dict[str, str]:
        """The values that ``${NAME}`` stands for in a triggers.yaml."""
        return {
            "FLEETML_PROJECT": str(self.project),
            "FLEETML_HOME": str(self.home),
            "FLEETML_REGISTRY": self.registry,
            "FLEETML_SERVING_DIR": str(self.serving_dir),
            "FLEETML_SERVING_ADDRESS": self.serving_address,
            "FLEETML_FEATURE_STORE": str(self.feature_store),
            "FLEETML_STUDIES": self.studies,
        }

    def defaults(self) -> dict[str, str]:
        """Return what ``${NAME}`` means in a triggers.yaml: the variables, what the runs are about, where measurements are.

        Those are in the home's folder ``measurements``, which may be a link; "" where there is none.
        """
        about, measured = {name: str(getattr(self.subject, name)) for name in ABOUT}, self.home / "measurements"
        about["measurements"] = str(measured) if measured.is_dir() else ""
        return {**self.variables(), **{f"FLEETML_{name.upper()}": value for name, value in about.items()}}


def _project(environ: Mapping[str, str], cwd: Path, rootless: bool) -> Path:
    if given := environ.get("FLEETML_PROJECT"):
        project = Path(given).expanduser().absolute()
        if not (project / TABLE).is_file():
            raise ConfigurationError(
                f"a project holds {TABLE}; FLEETML_PROJECT={project} does not; set it to the project's root"
            )
        return project
    for folder in (cwd.absolute(), *cwd.absolute().parents):
        if (folder / TABLE).is_file():
            return folder
    if rootless:
        return cwd.absolute()
    raise ConfigurationError(
        f"no project: neither {cwd} nor a folder above it holds {TABLE}; go there or set FLEETML_PROJECT"
    )


def _open(environ: Mapping[str, str], name: str) -> str:
    """Return a URL that everyone may see. Raises ConfigurationError for one with a password."""
    url = environ.get(name, "")
    if url != without_passwords(url):
        raise ConfigurationError(
            f"{name} stands in the record of every run, so it holds no password, got {without_passwords(url)!r}; take it "
            "out, set the variable that its client reads (PGPASSWORD; MLFLOW_TRACKING_USERNAME and _PASSWORD; "
            "AWS_SECRET_ACCESS_KEY) and name that in FLEETML_STEP_VARIABLES"
        )
    return url


def _studies(environ: Mapping[str, str]) -> str:
    """Return the database of searches. Raises ConfigurationError for another kind of place, or one with a password."""
    address = _open(environ, "FLEETML_STUDIES")
    if address and not address.startswith("postgresql://"):
        raise ConfigurationError(
            f"FLEETML_STUDIES is postgresql://user@host/database, or empty for a journal in each run's workspace, got {address!r}; "
            "correct or unset it"
        )
    return address


def _folders(text: str) -> tuple[Path, ...]:
    """The absolute folders of a list as in PATH. Raises ConfigurationError for one that is not there."""
    folders = tuple(Path(part).expanduser() for part in text.split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_absolute() or not folder.exists():
            raise ConfigurationError(
                f"FLEETML_MOUNTS lists absolute folders that exist, joined by '{os.pathsep}'; {folder} is none; mend it"
            )
    return folders


def _stack(home: Path) -> dict[str, Any]:
    """The addresses of the running stack; a file that cannot be read counts as no stack."""
    try:
        addresses = json.loads((home / "stack.json").read_text()).get("addresses", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return addresses if isinstance(addresses, dict) else {}
