"""Where a study is kept: in memory, in Optuna's journal, in Postgres; and the lock under which trials are begun."""

from __future__ import annotations

import contextlib
import fcntl
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.errors import ConfigurationError, InvalidParameter, Unavailable
from fleetml.learn.study.settings import StudySettings

if TYPE_CHECKING:
    import optuna

POSTGRES = ("postgresql://", "postgresql+psycopg2://")


def opened(settings: StudySettings, sampler: Any, pruner: Any) -> optuna.Study:
    """Return the study, a new one or the one of that name. Raises InvalidParameter, ConfigurationError, Unavailable."""
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
    if "://" in place:
        raise InvalidParameter(f"storage of a study must be a path or postgresql://…, got {place!r}; correct it")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place))
    except OSError as error:
        raise ConfigurationError(
            f"storage of a study must be a file that can be written, got {place!r}: {error}; correct the path"
        ) from None


def _postgres(url: str) -> Any:
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url)
    except ImportError as error:
        raise ConfigurationError(f"a study in Postgres needs psycopg2, which this Python lacks: {error}") from None
    except Exception as error:  # SQLAlchemy's, of which there are many
        raise Unavailable(
            f"storage of a study must answer, got {url}: {str(error).splitlines()[0]}; start it, or correct the address"
        ) from None


def lock(settings: StudySettings) -> AbstractContextManager[Any]:
    """Return the lock that one process at a time holds while it begins a trial."""
    if not settings.storage:
        return contextlib.nullcontext()
    if settings.storage.startswith(POSTGRES):
        return _advisory(settings)
    return _flock(Path(f"{settings.storage}.asks"))


@contextlib.contextmanager
def _flock(path: Path) -> Iterator[None]:
    with path.open("ab") as file:  # closing it gives the lock back, and so does a death
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _advisory(settings: StudySettings) -> Iterator[None]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(settings.storage)
    try:
        with engine.begin() as connection:
            key = {"key": zlib.crc32(settings.name.encode())}
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), key)
            yield
    finally:
        engine.dispose()
