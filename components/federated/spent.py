"""What a region's node has spent of its own epsilon: a file beside its key, which outlives the node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from components.federated import keys
from components.federated.privacy import Ledger
from fleetml import atomic
from fleetml.errors import ConfigurationError, InvalidData


def beside(key: Path) -> Path:
    """Return the file that belongs to a region's key."""
    return key.with_suffix(".spent")


@contextmanager
def begun(path: Path) -> Iterator[None]:
    """Have a ledger for this process alone, by a lock beside it, and begin it where there is none.

    Raises InvalidData for one that cannot be read, ConfigurationError where another process has it or the place takes none.
    """
    with ExitStack() as held:
        try:
            lock = path.with_suffix(".lock")  # the ledger itself is another file after each round
            lock.touch(mode=0o600)
            held.enter_context(keys.alone(lock))
            ledger = read(path) if path.exists() else Ledger()
            write(path, ledger)  # what cannot be written is better known now than in a round
        except OSError as error:
            raise ConfigurationError(
                f"a node with --epsilon writes down what it spends, {path} cannot be written or read: {error.strerror}; make its "
                "folder the node's own"
            ) from error
        yield


def read(path: Path) -> Ledger:
    """Return the ledger. Raises InvalidData where it cannot be read, which is never an empty one, OSError where it is gone."""
    try:
        return Ledger.of(json.loads(atomic.read_bytes(path)))
    except (ValueError, InvalidData) as error:
        raise InvalidData(
            f"{path} holds what the region has spent of its epsilon, it cannot be read ({error}); bring it back from a copy: without it "
            "what was spent is unknown"
        ) from error


def write(path: Path, ledger: Ledger) -> None:
    """Write it so that a power cut leaves the old one or this one; nobody else can read it. Raises OSError."""
    with atomic.durable(path, mode=0o600) as file:
        file.write(json.dumps(ledger.as_record()).encode())
