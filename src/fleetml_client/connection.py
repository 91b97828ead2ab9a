"""How a server is reached: address, TLS, token, deadline, what is tried again."""

import json
from dataclasses import dataclass
from pathlib import Path

import grpc

from fleetml_client.calls import SERVICE
from fleetml_client.errors import Error

MESSAGE_BYTES = 10 * 1024 * 1024
"""Longest message either side takes."""

PROBE = "fleetml-probe"
"""Request metadata of questions that the server answers like any other, but does not log as traffic."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Target:
    """A server at `address` (host:port), which `timeout` seconds are waited for with each call, tries included.

    `token` is what the server knows this client by. `trusted` is the PEM file of whoever signed the server's certificate;
    `tls` without it trusts whom the system trusts; neither: plaintext. With `probe` the questions are not logged as traffic.
    `attempts` of a call while the server is UNAVAILABLE, or cancels it because it ends, 1: none but the first; nothing else is tried again, and as every
    rpc only asks, asking twice changes nothing.
    """

    address: str
    timeout: float = 5.0
    token: str = ""
    trusted: Path | None = None
    tls: bool = False
    probe: bool = False
    attempts: int = 4

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return None for plaintext. Raises Error for a file that cannot be read."""
        if self.trusted is None:
            return grpc.ssl_channel_credentials() if self.tls else None
        try:
            return grpc.ssl_channel_credentials(self.trusted.read_bytes())
        except OSError as error:
            raise Error(
                f"trusted must be a readable PEM file, got {self.trusted} ({error.strerror}); correct it"
            ) from error

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            *(((PROBE, "1"),) if self.probe else ()),
            *((("authorization", f"Bearer {self.token}"),) if self.token else ()),
        )

    def options(self) -> list[tuple[str, str | int]]:
        loopback = self.address.rpartition(":")[0] in _LOOPBACK
        return [
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0 if loopback else 1),
            ("grpc.enable_retries", int(self.attempts > 1)),
            ("grpc.service_config", json.dumps(self.service_config())),
        ]

    def service_config(self) -> dict[str, object]:
        """Return what gRPC itself does about retries."""
        if self.attempts <= 1:
            return {}
        retries = {
            "maxAttempts": min(self.attempts, 5),  # gRPC's own limit
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            # a server that ends cancels what reached it in that instant: it was not begun
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        return {"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": retries}]}
