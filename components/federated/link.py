"""The link of real regions: Flower's SuperLink as one process that speaks TLS on one port and trusts nobody unasked.

Started by Flower's own command, a SuperLink takes runs, code and node keys from whoever reaches its port. Here who drives
it proves that he knows ``driver.secret``, regions are those whose public keys lie in the folder, nothing is executed
(isolation "process" without an executor), and nobody is told of it (no telemetry).
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.federated import keys
from fleetml import atomic
from fleetml.errors import Unavailable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flwr.server.superlink.linkstate import LinkState

log = logging.getLogger(__name__)

PORT = 9092
LOOK_SECONDS = 1.0
"""Between two looks for regions that were admitted or expelled."""


_IDLE = (
    "ControlSensitiveResponseMiddleware",
    "ControlLicenseMiddleware",
    "RuntimeTracingMiddleware",
    "ControlEventLogMiddleware",
    "FleetEventLogMiddleware",
)
"""Layers around each question that do nothing here (no licence, log or trace is asked for), and half of its time."""


def serve(folder: Path, host: str = "127.0.0.1", port: int = PORT) -> None:
    """Serve until the process is told to end; its address stands in ``link.json`` of the folder (port 0: a free one).

    Nothing of a run is written: a link that is started again knows its regions, and who drives a run begins it anew and
    sends again (in a database each of a round's hundred questions would wait for the disk). Raises ConfigurationError,
    Unavailable where the port is taken.
    """
    import uvicorn

    app = application(folder)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    state = app.state.linkstate_factory.state()
    _replace_at_once(state)
    admit(state, keys.public_keys(folder))
    listening = _listen(host, port)
    where = f"{host}:{listening.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ssl_keyfile=str(folder / keys.PRIVATE),
            ssl_certfile=str(folder / keys.CERTIFICATE),
            log_level="warning",
            access_log=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        )
    )
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder, state, ended), daemon=True)
    watcher.start()
    atomic.write_json(folder / "link.json", {"address": where, "pid": os.getpid()})
    regions = ", ".join(keys.public_keys(folder)) or "none yet"
    log.warning("the link answers at %s; regions admitted: %s", where, regions)
    try:
        server.run(sockets=[listening])
    finally:
        ended.set()
        watcher.join()
        with suppress(OSError):
            (folder / "link.json").unlink()


def application(folder: Path) -> FastAPI:
    """Return Flower's SuperLink with our rules of who may do what."""
    from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app
    from starlette.middleware import Middleware

    from components.federated.session import OneNode

    secret = keys.confidential(folder / keys.DRIVER)
    keys.confidential(folder / keys.PRIVATE)
    app = create_app(
        SuperLinkLifespanConfig(
            control_address="",
            health_server_address=None,
            host="",
            port=0,
            insecure=False,
            certificates=None,  # uvicorn's, by their files
            superexec_auth_secret=secret,
            authn_plugin=_driver_only(secret),
            event_log_plugin=None,
            fleet_event_log_plugin=None,
            enable_event_log=False,
            artifact_provider=None,
            enable_supernode_auth=True,
            fleet_api_type="grpc-rere",
            fleet_api_address=None,
            simulation=False,
            ssl_ca_certfile=None,
            ssl_certfile=None,
            ssl_keyfile=None,
            database=FLWR_IN_MEMORY_DB_NAME,
            isolation="process",
            runtime_dependency_install=False,
        ),
        SuperLinkLifespan,
    )
    kept = [each for each in app.user_middleware if getattr(each.cls, "__name__", "") not in _IDLE]
    app.user_middleware = [*kept, Middleware(OneNode)]  # the outermost first: signatures are checked before
    return app


def _driver_only(secret: bytes):  # type: ignore[no-untyped-def]
    """Return what Flower asks who starts, ends and lists runs: he who knows the driver's secret, sent as a bearer's."""
    from flwr.common.constant import ACCESS_TOKEN_KEY
    from flwr.supercore.auth.typing import AccountInfo
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin

    class Driver(NoOpControlAuthnPlugin):
        def validate_tokens_in_metadata(
            self, metadata: Sequence[tuple[str, str | bytes]]
        ) -> tuple[bool, AccountInfo | None]:
            token = dict(metadata).get(ACCESS_TOKEN_KEY, b"")
            given = token.encode() if isinstance(token, str) else token
            if not hmac.compare_digest(given, secret):
                return False, None
            return super().validate_tokens_in_metadata(metadata)

    return Driver()


def _replace_at_once(state: LinkState) -> None:
    """Let a region's node take the place of one that died, which Flower takes as there until it misses it for 20 s."""
    activate = state.activate_node

    def activated(node_id: int, heartbeat_interval: float) -> bool:
        state.deactivate_node(node_id)
        return activate(node_id, heartbeat_interval)

    state.activate_node = activated  # type: ignore[method-assign]


def admit(state: LinkState, regions: Mapping[str, bytes], spared: Collection[bytes] = ()) -> None:
    """Make the link's nodes those of the regions: a key that is gone, and not `spared` for now, takes no part any more.

    A region whose key is another is admitted once the one before is gone.
    """
    from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID

    known = {bytes(node.public_key): node for node in state.get_node_info() if node.status != "unregistered"}
    kept = set()
    for public, node in known.items():
        if public in regions.values() or public in spared:
            kept.add(node.name)
            continue
        state.delete_node(NOOP_FLWR_AID, node.node_id)
        log.warning("region %s was expelled", node.name)
    for name, public in regions.items():
        if public not in known and name not in kept:
            try:
                state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public, HEARTBEAT_MIN_INTERVAL, name=name)
            except ValueError:
                log.warning("region %s has a key that was expelled; give it a new one", name)
                continue
            log.warning("region %s was admitted", name)


def _watch(folder: Path, state: LinkState, ended: threading.Event) -> None:
    """Admit regions as their keys come; expel one, which is for good, when its key is missing in two looks: files are overwritten and
    folders mounted anew in less. What goes wrong is told once, and tried again.
    """
    settled: Mapping[str, bytes] | None = None  # a key may have come since the link began
    before: Mapping[str, bytes] = keys.public_keys(folder)
    told = ""
    while not ended.wait(LOOK_SECONDS):
        try:
            found = keys.public_keys(folder)
            if not found == before == settled:
                admit(state, found, before.values())
            settled, before = (found if found == before else None), found
        except Exception as error:  # or no region would be expelled any more, and nobody know
            if told != (told := str(error)):
                log.exception("regions could not be admitted or expelled")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"the link must listen on {host}:{port}: {error.strerror}; give another --host or --port, or stop what has it"
        ) from error
    return listening


def address(folder: Path) -> str:
    """Return where the link of a folder answers, "" where none runs."""
    try:
        return str(json.loads((folder / "link.json").read_text())["address"])
    except (OSError, ValueError, KeyError):
        return ""
