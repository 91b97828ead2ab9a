"""The state after a round, in one file: a run that died goes on after its last whole round."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.federated.learner import Arrays
from components.federated.selection import Client
from fleetml.atomic import durable
from fleetml.errors import InvalidData


@dataclass(frozen=True)
class Round:
    """What is told of a round: who answered, who was left out and why, the error of the model it began with, bytes, seconds."""

    number: int
    answered: list[str]
    left_out: dict[str, str]
    error: float
    loss: float
    sent_bytes: int
    received_bytes: int
    seconds: float


@dataclass(frozen=True)
class State:
    """All that the next round depends on: the model, what the strategy remembers, what is known of regions, what was told and spent."""

    number: int
    arrays: Arrays
    remembered: Mapping[str, Arrays] = field(default_factory=dict)
    clients: Mapping[str, Client] = field(default_factory=dict)
    history: tuple[Round, ...] = ()
    ledger: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the latest state; None keeps nothing. private: it also holds what was spent of an epsilon."""

    path: Path | None = None
    private: bool = False

    def write(self, state: State) -> None:
        """Write it so that a power cut leaves the state before or this one. Raises OSError."""
        if self.path is None:
            return
        told = {
            "number": state.number,
            "clients": {name: asdict(each) for name, each in state.clients.items()},
            "history": [asdict(each) for each in state.history],
            "ledger": dict(state.ledger),
        }
        arrays = {f"model/{name}": values for name, values in state.arrays.items()}
        for kind, kept in state.remembered.items():
            arrays |= {f"{kind}/{name}": values for name, values in kept.items()}
        with durable(self.path) as file:
            np.savez(file, told=np.array(json.dumps(told)), **arrays)  # type: ignore[arg-type]

    def read(self) -> State | None:
        """Return the state, None where there is none. Raises InvalidData for a file that is none of ours."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return _state({name: file[name] for name in file.files})
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            remedy = "delete it to begin anew"
            if self.private:
                remedy = "bring it back from a copy: without it what was spent of epsilon is unknown, and a run begun anew spends it again"
            raise InvalidData(f"{self.path} is no checkpoint of federated rounds ({error}); {remedy}") from error

    def remove(self) -> None:
        """What is finished is the model; the next run begins anew."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _state(found: dict[str, Any]) -> State:
    told = json.loads(str(found.pop("told")))
    kinds: dict[str, dict[str, Any]] = {}
    for name, values in found.items():
        kind, _, key = name.partition("/")
        kinds.setdefault(kind, {})[key] = values
    return State(
        number=told["number"],
        arrays=kinds.pop("model"),
        remembered=kinds,
        clients={name: Client(**each) for name, each in told["clients"].items()},
        history=tuple(Round(**each) for each in told["history"]),
        ledger=told["ledger"],
    )
