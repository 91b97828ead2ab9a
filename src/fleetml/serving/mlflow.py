"""MLflow's client: made when it is needed, patient with SQLite's lock, its silence told in our words."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fleetml import lockfile
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.serving.registry_http import breaker

_TRIES = 6
_URI = re.compile(r"https?://[^/]|sqlite:////")
_T = TypeVar("_T")


class Mlflow:
    """The client at an MLflow URI: ``http://host:port`` or ``sqlite:////folder/mlflow.db``, artifacts beside it.

    Raises ConfigurationError for another URI.
    """

    def __init__(self, uri: str) -> None:
        if not _URI.match(uri):  # MLflow itself takes an unknown one for a registry without models
            raise ConfigurationError(
                f"a registry needs a URI, http(s)://host:port or sqlite:////folder/mlflow.db with an absolute path, "
                f"got {uri.rpartition('@')[2]!r}; give one"
            )
        self.uri = uri
        self._database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None

    @property
    def _client(self) -> Any:
        if "client" not in self.__dict__:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # else minutes until a dead server is noticed
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
            from mlflow import MlflowClient

            # Of each version it says that it waits for what files and databases have at once
            logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
            if self._database:
                self._database.parent.mkdir(parents=True, exist_ok=True)
            self.__dict__["client"] = MlflowClient(self.uri, self.uri)
        return self.__dict__["client"]

    def _ask(self, call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Call MLflow, unless it failed shortly before. Raises Unavailable."""
        with contextlib.nullcontext() if self._database else breaker(self.uri).calling():
            return self._patiently(call, *args, **kwargs)

    def _patiently(self, call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Try again while another process holds SQLite's lock, and say in our words that it is down."""
        from mlflow.exceptions import MlflowException

        for attempt in range(1, _TRIES + 1):
            try:
                return call(*args, **kwargs)
            except MlflowException as error:
                if "database is locked" not in str(error):
                    if silent := self._silent(error):
                        raise silent from error
                    raise
                if attempt == _TRIES:
                    raise Unavailable(
                        f"the registry {self.uri} is locked by another process; try again later"
                    ) from error
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")

    def _silent(self, error: Exception) -> Unavailable | None:
        """Return what to say when nobody answered, or nobody who is MLflow; None for what MLflow itself said."""
        reason = str(error)
        if "API request to" in reason and "failed with exception" in reason:
            return Unavailable(f"the registry must answer at {self.uri}, and does not ({reason[-200:]}); start it")
        foreign = "API request to" in reason or getattr(error, "error_code", "") == "INTERNAL_ERROR"
        if foreign and self._database is None:
            return Unavailable(
                f"an MLflow server must answer at {self.uri}, what does says {reason[:200]!r}; check the address, the "
                "credentials and the server's log"
            )
        return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one step at a time write a SQLite registry; a server orders its clients itself."""
        if self._database is None:
            yield
            return
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with lockfile.held(self._database.with_suffix(".lock")):
            yield
