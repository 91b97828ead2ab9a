"""Who may ask: bearer tokens from a file, one a line, read again when the file changes.

    <token> <name of the client> [<end, ISO 8601>]

Lines that begin with # are comments. Tokens are kept and compared as SHA-256 digests, in constant time.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleetml.errors import ConfigurationError
from fleetml.serving import deployment
from fleetml.serving.errors import Unauthenticated

SHORTEST = 16
log = logging.getLogger(__name__)


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


def issue(root: Path) -> str:
    """Return the token of a serving folder, which the first server on it makes for its own user's eyes only.

    "" where the folder cannot be written: then deploy needs to be let in otherwise.
    """
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile("w", dir=root, prefix=".token-") as aside:
        aside.write(secrets.token_urlsafe(32))  # the file's mode is 0600
        aside.flush()
        os.link(aside.name, root / deployment.MAY_ASK)  # the first one wins
    return deployment.token(root)


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
