"""``settings.json`` of the serving folder: what a running server takes over without a restart. `fleetml deploy` writes it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fleetml import atomic
from fleetml.errors import ConfigurationError
from fleetml.serving.options import Limits, Options

FILE = "settings.json"
_KNOWN = Limits()


@dataclass(frozen=True)
class ServerSettings:
    """Options of ``python -m fleetml.serving`` by the same names; `cache` is a number of answers."""

    workers: int = 1
    backend: str = "cpu"
    log_share: float = 1.0
    queued_rows: int = _KNOWN.queued_rows
    batch_rows: int = _KNOWN.batch_rows
    client_rate: float = _KNOWN.client_rate
    cache: int = _KNOWN.cache_entries
    cache_seconds: float = _KNOWN.cache_seconds
    connections: int = _KNOWN.connections

    def over(self, options: Options) -> Options:
        """Return the options with these in place of theirs."""
        limits = replace(
            options.limits,
            queued_rows=self.queued_rows,
            batch_rows=self.batch_rows,
            client_rate=self.client_rate,
            cache_entries=self.cache,
            cache_seconds=self.cache_seconds,
            connections=self.connections,
        )
        return replace(options, backend=self.backend, log_share=self.log_share, limits=limits)

    def words(self) -> list[str]:
        """Return them as words of the server's command line."""
        given = asdict(self).items()
        return [word for name, value in given for word in (f"--{name.replace('_', '-')}", f"{value}")]


def read(path: Path) -> ServerSettings | None:
    """Return the settings in a file, None where nobody wrote any. Raises ConfigurationError for what are none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = asdict(ServerSettings())
        return ServerSettings(**{name: type(usual)(found[name]) for name, usual in known.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} must be the settings that fleetml deploy writes, got {error!r}; deploy again, or remove it"
        ) from error


def write(path: Path, settings: ServerSettings | None) -> None:
    """Write the settings, None: remove them. Raises OSError."""
    if settings is None:
        path.unlink(missing_ok=True)
    else:
        atomic.write_json(path, asdict(settings))
