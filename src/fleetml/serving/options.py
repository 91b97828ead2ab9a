"""What a server is told when it starts."""

import resource
from dataclasses import dataclass, field
from pathlib import Path

from fleetml.access import Access

__all__ = ["OTHER_FILES", "Access", "Limits", "Options"]

OTHER_FILES = 128
"""Open files of a server besides its connections, at most."""


@dataclass(frozen=True)
class Limits:
    """What the server takes on before it refuses.

    `queued_rows` that wait for one version; `batch_rows` of one run of a graph; `client_rate` requests a second of one
    client, 0: any number; `cache_entries` answers kept for `cache_seconds`, 0: none; `connections` at once, over gRPC and HTTP each;
    `request_seconds` after which a request that is still under way counts as expired, if its client set no deadline.
    """

    queued_rows: int = 16_384
    batch_rows: int = 256
    client_rate: float = 0.0
    cache_entries: int = 0
    cache_seconds: float = 60.0
    connections: int = 12_000
    request_seconds: float = 30.0

    def held(self) -> int:
        """Return how many connections of each protocol this process can hold: its other files need room, too."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(1, min(self.connections, (files - OTHER_FILES) // 2))


@dataclass(frozen=True)
class Options:
    """`root` is the serving folder; port 0: any free one; `feature_store` None: no covariates are looked up.

    `http_port` None: the one after gRPC's if it is free, else any. `backend` is one of `fleetml.serving.backends.NAMES`; `log_share` of the answers are logged.
    What lies as ``*.prom`` in the folders `textfiles` is told to Prometheus beside the server's own figures.
    What it has loaded it tells in `status_dir`, None: in the serving folder. `settings` is a file that it follows.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 50051
    http_port: int | None = None
    feature_store: Path | None = None
    backend: str = "cpu"
    log_share: float = 1.0
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    textfiles: tuple[Path, ...] = ()
    status_dir: Path | None = None
    settings: Path | None = None

    @property
    def status(self) -> Path:
        """The folder in which the server tells what it has loaded."""
        return self.status_dir or self.root
