"""``stack.json``: what of the embedded stack runs, where it answers, who it is."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetml.stack.processes import Service

FILE = "stack.json"


@dataclass(frozen=True)
class Stack:
    """The servers of one checkout by name ("airflow", "mlflow", "rollout", "serving")."""

    home: Path
    services: Mapping[str, Service] = field(default_factory=dict)
    started: float = 0.0

    @property
    def dead(self) -> list[str]:
        """Names of the servers whose processes are gone."""
        return [name for name, service in self.services.items() if not service.alive()]

    def port(self, name: str) -> int | None:
        """Return the port a server answers at, None when it is not there."""
        service = self.services.get(name)
        return int(service.address.rpartition(":")[2]) if service else None


def read(home: Path) -> Stack | None:
    """Return what was last written, None when no stack was started or the file cannot be read."""
    try:
        document = json.loads((home / FILE).read_text())
        services = {name: Service.from_json(entry) for name, entry in document["services"].items()}
        return Stack(home, services, document["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(stack: Stack) -> None:
    """Write aside, then rename; only the owner may read it, for it holds the login."""
    services = stack.services
    addresses = {name: service.address for name, service in services.items()}
    if "mlflow" in addresses:
        addresses["registry"] = addresses["mlflow"]  # what `fleetml.settings` calls it
    document = {
        "started": stack.started,
        "addresses": addresses,
        "services": {name: service.to_json() for name, service in services.items()},
    }
    stack.home.mkdir(parents=True, exist_ok=True)
    aside = stack.home / f"{FILE}.tmp"
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as sink:
        json.dump(document, sink, indent=1)
    aside.replace(stack.home / FILE)


def forget(home: Path) -> None:
    (home / FILE).unlink(missing_ok=True)
