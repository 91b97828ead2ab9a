"""The server's settings as a deployment wants them: put in force, told in the audit trail, taken back if it fails."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import ConfigurationError, StepFailed, Unavailable
from fleetml.serving import audit, deployment, settings
from fleetml.serving.rollout import actions
from fleetml.serving.settings import ServerSettings
from fleetml.settings import Settings
from fleetml.stack import processes
from fleetml.stack.processes import Service
from fleetml.stack.up import Tell, server

SECONDS = 120.0
"""For the server to take over settings."""


def configure(own: Settings, name: str, wanted: ServerSettings, tell: Tell, undo: ExitStack) -> Service:
    """Have the stack's server, started if need be, run with these settings; what takes them back goes into `undo`.

    `name` is the deployment's. A change is a line of the audit trail, of no model. Raises StepFailed for settings that the
    server refuses, Unavailable where it does not take them over.
    """
    path = own.serving_dir / settings.FILE
    before = path.read_bytes() if path.exists() else None
    known = _known(path)
    undo.callback(_put_back, own.serving_dir, before, known, wanted, name)
    own.serving_dir.mkdir(parents=True, exist_ok=True)
    settings.write(path, wanted)
    _note(own.serving_dir, "settings", known, asdict(wanted), f"deployment {name}")
    service = server(own, tell)
    if not processes.wait_until(lambda: _settled(own.serving_dir, wanted), SECONDS, 0.05):
        raise Unavailable(
            f"the server at {service.address} must take over the new settings within {SECONDS:.0f} s, it did not; see {service.log}"
        )
    if refused := deployment.status(own.serving_dir).get("settings_refused"):
        raise StepFailed(f"the server must run with the new settings, {refused['error']}: {service.log}")
    return service


def shown(values: dict[str, Any]) -> str:
    """Return settings in one line."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def _known(path: Path) -> dict[str, Any]:
    """The settings before, without a file the server's usual ones; {} where the file cannot be read."""
    try:
        return asdict(settings.read(path) or ServerSettings())
    except ConfigurationError:
        return {}


def _settled(root: Path, wanted: ServerSettings) -> bool:
    said = deployment.status(root)
    refused = said.get("settings_refused") or {}
    return asdict(wanted) in (said.get("settings"), refused.get("settings"))


def _put_back(root: Path, before: bytes | None, known: dict[str, Any], wanted: ServerSettings, name: str) -> None:
    path = root / settings.FILE
    if before is None:
        path.unlink(missing_ok=True)
    else:
        atomic.write_text(path, before.decode())
    _note(root, "restore", asdict(wanted), known, f"deployment {name} failed")


def _note(root: Path, action: str, before: dict[str, Any], after: dict[str, Any], why: str) -> None:
    """Write a line of what differs; nothing where nothing does."""
    names = [name for name in after or before if before.get(name) != after.get(name)]
    if names:
        old, new = ({name: each[name] for name in names if name in each} for each in (before, after))
        audit.write(root, audit.line(actions.person(), "", action, shown(old), shown(new), why))
