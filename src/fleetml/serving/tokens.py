"""Who may ask the model server: those whose tokens stand in a file (`fleetml.access`), and who deploys."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from fleetml.access import Token, Tokens, read
from fleetml.serving import deployment

__all__ = ["Token", "Tokens", "issue", "read"]


def issue(root: Path) -> str:
    """Return the token of a serving folder, which the first server on it makes for its own user's eyes only.

    "" where the folder cannot be written: then deploy needs to be let in otherwise.
    """
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile("w", dir=root, prefix=".token-") as aside:
        aside.write(secrets.token_urlsafe(32))  # the file's mode is 0600
        aside.flush()
        os.link(aside.name, root / deployment.MAY_ASK)  # the first one wins
    return deployment.token(root)
