"""Who may ask a server of ours: TLS, and bearer tokens from a file, one a line, read again when the file changes.

    <token> <name of the client> [<end, ISO 8601>]

Lines that begin with # are comments. Tokens are kept and compared as SHA-256 digests, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml import direct
from fleetml.errors import ConfigurationError, FleetMLError

if TYPE_CHECKING:
    import ssl

SHORTEST = 16
log = logging.getLogger(__name__)


class Unauthenticated(FleetMLError):
    """The request carries no valid token."""


@dataclass(frozen=True)
class Access:
    """Who may ask. `certificate` and `key`: PEM files, together; `tokens`: a file, see above."""

    certificate: Path | None = None
    key: Path | None = None
    tokens: Path | None = None

    def exposed(self, host: str) -> str:
        """Return what to be warned of where `host` can be reached from other machines; "": nothing."""
        if direct.is_loopback(host) or (self.tokens and self.certificate):
            return ""
        if not self.tokens:
            return (
                f"whoever reaches {host} may ask: it is beyond loopback, and there are no --tokens; give some, or leave it to "
                "the network to let in only whom you mean"
            )
        return (
            f"tokens travel in the clear to {host}, which is beyond loopback; give --tls-certificate and --tls-key, or leave "
            "encryption to a mesh"
        )

    def context(self) -> ssl.SSLContext | None:
        """Return what a server's connections are encrypted with, None: nothing. Raises ConfigurationError for what is no certificate."""
        if self.certificate is None or self.key is None:
            if self.certificate or self.key:
                raise ConfigurationError(
                    "TLS needs a certificate and its key, got one of them; give --tls-certificate and --tls-key"
                )
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                f"{self.certificate} and {self.key} must be a certificate and its key in PEM, got {error}; mend them"
            ) from error
        return context


@dataclass(frozen=True)
class Token:
    """`digest` of the token; `until` None: it does not end."""

    digest: bytes
    client: str
    until: datetime | None


def read(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a file. Raises ConfigurationError, which never holds a token."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the file of tokens must be readable, got {error} for {path}; mend --tokens"
        ) from None
    found = [
        _token(line.split(), f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise ConfigurationError(f"{path} must hold a token, got none; add a line '<token> <client>'")
    return tuple(found)


class Tokens:
    """The tokens of a file as they stand now. A file that breaks while the server runs leaves those from before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = read(path)
        self._seen = _stamp(path)

    def refresh(self) -> None:
        """Read the file again if it changed."""
        if (stamp := _stamp(self._path)) == self._seen:
            return
        self._seen = stamp
        try:
            self._tokens = read(self._path)
        except ConfigurationError as error:
            log.error("the tokens from before stay valid: %s", error)
        else:
            log.info("%d tokens are valid now", len(self._tokens))

    def client(self, authorization: str) -> str:
        """Return whose token an ``Authorization`` header carries. Raises Unauthenticated."""
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).digest()
        found = None
        for known in self._tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(known.digest, digest):
                found = known
        if found is None or scheme.lower() != "bearer":
            raise Unauthenticated(
                "a request needs a valid token, got none or a wrong one; send Authorization: Bearer <token>"
            )
        if found.until and datetime.now(UTC) >= found.until:
            raise Unauthenticated(
                f"the token of {found.client} ended {found.until:%Y-%m-%d %H:%M} UTC; ask for another"
            )
        return found.client


def _token(words: list[str], place: str) -> Token:
    if len(words) not in (2, 3) or len(words[0]) < SHORTEST:
        raise ConfigurationError(
            f"{place} must be '<token of {SHORTEST} characters or more> <client> [<end, ISO 8601>]', got {len(words)} words; "
            "correct the line"
        )
    until = None
    if len(words) == 3:
        try:
            until = datetime.fromisoformat(words[2])
        except ValueError:
            raise ConfigurationError(
                f"{place}: the end of a token must be ISO 8601, got {words[2]!r}; correct it"
            ) from None
        until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return Token(hashlib.sha256(words[0].encode()).digest(), words[1], until)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
