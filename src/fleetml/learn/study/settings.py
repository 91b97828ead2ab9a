"""How a study is run: its budget, sampler, pruner, workers and storage."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl, urlsplit

from fleetml.errors import InvalidParameter, nearest
from fleetml.frozen import frozen

SAMPLERS = (
    "auto", "random", "qmc", "grid", "tpe", "gp", "gp_ucb", "gp_pi", "cmaes", "nsga2", "evolution", "reinforce",
)  # fmt: skip
PRUNERS = ("none", "median", "halving", "hyperband", "wilcoxon")
DIRECTIONS = ("minimize", "maximize")
_PASSWORDS = {"password", "sslpassword"}  # parameters of libpq
# Those that know one objective
_SINGLE = ("gp_ucb", "gp_pi", "cmaes", "reinforce")


@frozen
class StudySettings:
    """Checked when made. Raises InvalidParameter.

    trials        how many are done in all, those of a resumed study and of other processes included
    seconds       when no further one begins; a trial that goes on is told its deadline, and one in a process of its own is ended
    workers       trials at a time; 1: the same seed gives the same trials
    trial_seconds, memory_mb    the most that one trial may take, both set each in a process of its own; 0 MB: no limit.
                  The memory is what it adds to what was there as it began
    spare_seconds   how long after its deadline a trial in a process of its own is ended; 0: a tenth of what it had, from 2 to 10 s
    lasting       a process of trials takes the next one too (what one imported and remembers is there), until one of them breaks it
    counted       no clock ends a trial but its own `trial_seconds`: `seconds` end the study between trials
    patience      trials without a better one after which the study ends; 0: none
    logged        whether the log has a line of each trial
    storage       "": in memory; a path: Optuna's journal; postgresql://host/database (libpq finds the password)
    name          of the study in its storage, which may hold several
    """

    trials: int
    seconds: float = math.inf
    sampler: str = "auto"
    pruner: str = "none"
    directions: tuple[str, ...] = ("minimize",)
    workers: int = 1
    seed: int = 0
    trial_seconds: float = math.inf
    memory_mb: int = 0
    spare_seconds: float = 0.0
    lasting: bool = False
    counted: bool = False
    patience: int = 0
    logged: bool = True
    storage: str = ""
    name: str = "study"

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("workers", 1), ("memory_mb", 0), ("patience", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidParameter(
                    f"{name} of a study must be a whole number of at least {least}, got {value!r}; raise it"
                )
        for name in ("seconds", "trial_seconds"):
            if not getattr(self, name) > 0:
                raise InvalidParameter(f"{name} of a study must be positive, got {getattr(self, name)!r}; raise it")
        if not self.spare_seconds >= 0:
            raise InvalidParameter(f"spare_seconds of a study must be at least 0, got {self.spare_seconds!r}; raise it")
        self._check_names()

    def _check_names(self) -> None:
        for name, value, known in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in known:
                told = nearest(str(value), known) or "; correct it"
                raise InvalidParameter(f"{name} of a study must be one of {', '.join(known)}, got {value!r}{told}")
        if not self.directions or not set(self.directions) <= set(DIRECTIONS):
            raise InvalidParameter(
                f"directions of a study must be {' or '.join(DIRECTIONS)}, one an objective, got {self.directions!r}; correct them"
            )
        if len(self.directions) > 1 and self.sampler in _SINGLE:
            raise InvalidParameter(
                f"sampler {self.sampler!r} knows one objective, got {len(self.directions)}; use auto, nsga2, tpe or gp"
            )
        if len(self.directions) > 1 and self.pruner != "none":
            raise InvalidParameter(
                f"a study of {len(self.directions)} objectives has no pruner (what is reported is one figure), got {self.pruner!r}; use none"
            )
        self._check_storage()

    def _check_storage(self) -> None:
        scheme, found, _ = self.storage.partition("://")
        if found and scheme != "postgresql":
            raise InvalidParameter(f"storage of a study must be a path or postgresql://…, got {scheme}://…; correct it")
        if found and _holds_password(self.storage):
            raise InvalidParameter(
                "storage of a study must hold no password, got one; leave it out and set PGPASSWORD or ~/.pgpass"
            )

    @property
    def journal(self) -> str:
        """The path of the journal; "" where the study is in memory or in Postgres."""
        return "" if "://" in self.storage else self.storage

    @property
    def isolated(self) -> bool:
        """Whether trials have processes of their own."""
        return self.workers > 1 or math.isfinite(self.trial_seconds) or self.memory_mb > 0 or self.lasting


def _holds_password(address: str) -> bool:
    """Return whether a password is in an address of Postgres, or may be: one with signs that should be escaped splits elsewhere."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises for one that is no number
    except ValueError:  # what it says may hold a piece of a password
        raise InvalidParameter(
            "storage of a study must be postgresql://user@host:port/database, got an address that is none; correct it"
        ) from None
    query = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    return parts.password is not None or "@" in parts.path + parts.fragment or bool(query & _PASSWORDS)
