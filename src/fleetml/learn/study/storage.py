"""Where a study is kept: in memory, in Optuna's journal, in Postgres; and the lock under which trials are begun."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.component import Artifact
from fleetml.errors import ConfigurationError, InvalidParameter, Unavailable
from fleetml.learn.study.settings import StudySettings

if TYPE_CHECKING:
    import optuna

POSTGRES = "postgresql://"
_JOURNAL = "studies.journal"


def place(storage: str, workspace: str) -> str:
    """Return where a stage's study is kept: what `storage` says, else a journal in the folder that a run's steps share, else in memory."""
    return storage or (str(Path(workspace) / _JOURNAL) if workspace else "")


def study_name(stage: str, inputs: Iterable[Artifact], **searched: Any) -> str:
    """Return the name of a stage's study, with a digest of its inputs' files and of what else decides what a trial is worth.

    In one storage other data or limits are another study; steps with the same ones share theirs. Raises OSError.
    """
    digest = hashlib.sha256(json.dumps(searched, sort_keys=True).encode())
    for each in inputs:
        with each.path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{stage}-{digest.hexdigest()[:16]}"


def opened(settings: StudySettings, sampler: Any, pruner: Any) -> optuna.Study:
    """Return the study, a new one or the one of that name; under `lock`. Raises InvalidParameter."""
    import optuna

    made = optuna.create_study(
        storage=_storage(settings.storage),
        study_name=settings.name,
        sampler=sampler,
        pruner=pruner,
        directions=[optuna.study.StudyDirection[each.upper()] for each in settings.directions],
        load_if_exists=True,
    )
    known = tuple(each.name.lower() for each in made.directions)
    if known != settings.directions:
        raise InvalidParameter(
            f"study {settings.name!r} of {settings.storage} has the directions {', '.join(known)}, "
            f"got {', '.join(settings.directions)}; give another name"
        )
    return made


def _storage(place: str) -> Any:
    if not place:
        return None
    if place.startswith(POSTGRES):
        return _postgres(place)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(place))


def _postgres(url: str) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(_driven(url))


def _driven(url: str) -> str:
    """Return the address with the driver that our environments have; SQLAlchemy 2.1 would take another one."""
    return url.replace(POSTGRES, "postgresql+psycopg2://", 1)


@contextlib.contextmanager
def lock(settings: StudySettings) -> Iterator[None]:
    """Hold what one process at a time has while it opens the study or begins a trial. Raises ConfigurationError, Unavailable."""
    if not settings.storage:
        yield
        return
    held = _advisory if settings.storage.startswith(POSTGRES) else _flock
    with held(settings):
        yield


@contextlib.contextmanager
def _flock(settings: StudySettings) -> Iterator[None]:
    path = Path(f"{settings.storage}.asks")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise ConfigurationError(
            f"storage of a study must be a file that can be written, got {settings.storage!r}: {error}; correct the path"
        ) from None
    with file:  # closing it gives the lock back, and so does a death
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _advisory(settings: StudySettings) -> Iterator[None]:
    import sqlalchemy

    key = {"key": zlib.crc32(settings.name.encode())}
    try:
        connection = sqlalchemy.create_engine(_driven(settings.storage), poolclass=sqlalchemy.NullPool).connect()
    except ImportError as error:
        raise ConfigurationError(f"a study in Postgres needs psycopg2, which this Python lacks: {error}") from None
    except sqlalchemy.exc.OperationalError as error:
        raise Unavailable(
            f"storage of a study must answer, got {settings.storage}: {str(error.orig).strip()}; start it, or correct the address"
        ) from None
    with connection, connection.begin():  # its end gives the lock back
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), key)
        yield
