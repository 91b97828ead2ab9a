"""Results in a store that several machines share (``FLEETML_STORE``): an fsspec URL such as ``s3://bucket/prefix``.

``<store>/<result>/`` holds what ``results/<result>/`` holds, a folder that an attempt published, and
``contents.json``, which says what the store itself cannot: sizes, modes, empty folders, links. ``result.json`` is
written last, so a result that has one is whole. URIs of the store travel between steps; what runs sees local paths.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from fleetml import artifacts, atomic
from fleetml.errors import ConfigurationError, FleetMLError, InvalidData, Unavailable
from fleetml.frozen import replace
from fleetml.pipeline import Inputs
from fleetml.redaction import mapped
from fleetml.settings import Settings

CONTENTS, RESULT = "contents.json", "result.json"
_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci"}  # are made by people, not by us
_REFUSED = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"}  # botocore's


def of(settings: Settings) -> ArtifactStore | None:
    """Return the store of this installation, the same one to all in this process; None where there is none."""
    return _made(settings.store, settings.home) if settings.store else None


def local_inputs(settings: Settings, inputs: Inputs) -> Inputs:
    """Return a step's inputs as it may see them, with paths on this machine, once the store is known to be there."""
    store = of(settings)
    if store is None:
        return inputs
    store.ready()
    return store.local_inputs(inputs)


@lru_cache(maxsize=4)
def _made(url: str, home: Path) -> ArtifactStore:
    return ArtifactStore(url, home)


class ArtifactStore:
    """The store at `url`, and the copies of what is in it below `home`. Any number of machines and threads may use one.

    Its methods raise ConfigurationError for a store that is not there, or refuses us, and Unavailable for one that does
    not answer.
    """

    def __init__(self, url: str, home: Path) -> None:
        self.url = url.rstrip("/")
        self._results, self._imported = home / "results", home / "imported"
        self._inside = re.compile(rf"(?:{re.escape(self.url)})/([\w.-]+)/([\w.-]+)")
        self._known: dict[str, dict[str, Any]] = {}

    def told(self, value: Any) -> Any:
        """Return a JSON value with the URIs of the store instead of the paths of results."""
        return mapped(value, lambda text: text.replace(f"{self._results}/", f"{self.url}/"))

    def local(self, value: Any) -> Any:
        """Return a JSON value with paths on this machine instead of the store's URIs; what is not here is fetched."""

        def here(found: re.Match[str]) -> str:
            return str(self._fetched(found[1], found[2]))

        return mapped(value, lambda text: self._inside.sub(here, text) if self.url in text else text)

    def local_artifact(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The same for an artifact entry, which may also lie elsewhere (an importer's), if its digest is known."""
        found: dict[str, Any] = self.local(dict(entry))
        remote = artifacts.local_path(found["uri"]) is None and found["digest"] not in ("", artifacts.NOTHING)
        return {**found, "uri": str(self._copied(found["uri"], found["digest"]))} if remote else found

    def local_inputs(self, inputs: Inputs) -> Inputs:
        """Return a step's inputs as it may see them: with paths on this machine."""
        found = {name: [self.local_artifact(item) for item in items] for name, items in inputs.artifacts.items()}
        return replace(inputs, parameters=self.local(inputs.parameters), artifacts=found)

    def publish(self, folder: Path, name: str) -> None:
        """Put the folder of a result into the store, as `name`."""
        with self._asking(f"putting {name}"):
            contents = _contents(folder)
            files = [file for file in contents["files"] if file != RESULT]
            self._fs.put([str(folder / file) for file in files], [self._at(name, file) for file in files])
            self._fs.pipe_file(self._at(name, CONTENTS), json.dumps(contents).encode())
            self._fs.pipe_file(self._at(name, RESULT), (folder / RESULT).read_bytes())

    def ready(self) -> None:
        """Find out that the store is there before anything is computed for it."""
        _ = self._fs

    def result(self, name: str) -> bytes:
        """Return the ``result.json`` of a result. Raises FileNotFoundError when there is none."""
        place = self._results / name / RESULT
        if place.exists():
            return atomic.read_bytes(place)
        return self._read(name, RESULT)

    def older(self, before: float) -> dict[str, int]:
        """Return the results in the store that were put there before `before` [s since the epoch], and their bytes."""
        sizes: dict[str, int] = {}
        times: dict[str, float] = {}
        with self._asking("listing it"):
            for place, known in self._fs.find(self._root, detail=True).items():
                name, _, file = str(PurePosixPath(place).relative_to(self._root)).partition("/")
                sizes[name] = sizes.get(name, 0) + int(known["size"])
                if file in (CONTENTS, RESULT):  # written last
                    times[name] = max(times.get(name, 0.0), self._fs.modified(place).timestamp())
        return {name: size for name, size in sizes.items() if times.get(name, before) < before}

    def remove(self, name: str) -> None:
        """Take a result out of the store, what says that it is whole first."""
        with self._asking(f"removing {name}"):
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._at(name, RESULT))
            self._fs.rm(self._at(name, ""), recursive=True)

    def holds(self, entry: Mapping[str, Any]) -> bool:
        """Say whether an artifact is here as it was made, or in the store with the files and sizes it was put with."""
        found = self._inside.match(entry["uri"])
        if entry["digest"] == artifacts.NOTHING or not found:
            return artifacts.intact(entry)
        name, top = found.groups()
        if os.path.lexists(self._results / name / top):
            return artifacts.intact({**entry, "uri": str(self._results / name) + entry["uri"][found.end(1) :]})
        try:
            wanted = {file: size for file, (size, _) in self._files(name, top).items()}
        except FileNotFoundError:
            return False
        with self._asking(f"looking for {entry['uri']}"):
            there = self._fs.find(self._at(name, top), detail=True)
        return wanted == {str(PurePosixPath(at).relative_to(self._at(name, ""))): i["size"] for at, i in there.items()}

    def digest(self, uri: str) -> str:
        """Return the SHA-256 of a file or folder at any URL that fsspec can read; it is kept, for the steps that follow."""
        inside = self.local(uri)
        if artifacts.local_path(inside) is not None:
            return artifacts.digest(Path(inside))
        return self._copied(uri, "").parent.name

    @cached_property
    def _fs(self) -> Any:
        return self._opened()[0]

    @cached_property
    def _root(self) -> str:
        return str(self._opened()[1]).rstrip("/")

    def _opened(self) -> tuple[Any, str]:
        with self._asking("opening it"):
            fs, root = _filesystem(self.url)
            if self.url.partition("://")[0] in _BUCKETS:
                fs.info(root.split("/")[0])
            else:
                fs.makedirs(root, exist_ok=True)
            return fs, root

    def _at(self, name: str, file: str) -> str:
        return f"{self._root}/{name}/{file}".rstrip("/")

    def _read(self, name: str, file: str) -> bytes:
        with self._asking(f"reading {name}/{file}", missing=True):
            return bytes(self._fs.cat_file(self._at(name, file)))

    def _files(self, name: str, top: str, kind: str = "files") -> dict[str, Any]:
        """Return the files (or folders, or links) of one entry of a result. Raises FileNotFoundError for no result."""
        if name not in self._known:
            self._known[name] = json.loads(self._read(name, CONTENTS))
        return {path: what for path, what in self._known[name][kind].items() if path.split("/")[0] == top}

    def _fetched(self, name: str, top: str) -> Path:
        """Return where an entry of a result is on this machine, fetched and compared with its digest if it was not."""
        place = self._results / name / top
        if os.path.lexists(place):
            return place
        try:
            files, folders, links = (self._files(name, top, kind) for kind in ("files", "folders", "links"))
        except FileNotFoundError:
            raise InvalidData(
                f"an artifact stays in the store as long as runs read it, {self.url}/{name} is gone; "
                "run the step that made it again"
            ) from None
        with _aside(place) as folder:
            for path in folders:
                (folder / path).mkdir(parents=True, exist_ok=True)
            self._get(name, folder, list(files))
            for path, target in links.items():
                (folder / path).symlink_to(target)
            for path, (_, mode) in files.items():
                (folder / path).chmod(mode)
            self._compare(name, top, folder)
            if files or folders or links:
                _settle(folder / top, place)
        return place

    def _get(self, name: str, folder: Path, files: list[str]) -> None:
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with self._asking(f"fetching {name}"):
            self._fs.get([self._at(name, file) for file in files], [str(folder / file) for file in files])

    def _compare(self, name: str, top: str, folder: Path) -> None:
        made = json.loads(self.result(name))["artifacts"]
        for entry in (entry for entries in made.values() for entry in entries):
            inner = entry["uri"].removeprefix(f"{self.url}/{name}/")
            if inner.split("/")[0] == top and not artifacts.intact({**entry, "uri": str(folder / inner)}):
                raise _changed(entry["uri"], entry["digest"])

    def _copied(self, uri: str, digest: str) -> Path:
        """Return where a copy of what is at `uri` lies, named after its digest: `digest`, or any where that is ""."""
        file = re.sub(r"[^\w.-]+", "-", uri.rstrip("/").rsplit("/", 1)[-1]) or "content"
        if digest and (self._imported / digest / file).exists():
            return self._imported / digest / file
        with _aside(self._imported / "new") as folder:
            with self._asking(f"reading {uri}", uri):
                fs, path = _filesystem(uri)
                fs.get(path, str(folder / file), recursive=fs.isdir(path))
            found = artifacts.digest(folder / file)
            if digest and found != digest:
                raise _changed(uri, digest)
            _settle(folder / file, self._imported / found / file)
        return self._imported / found / file

    @contextlib.contextmanager
    def _asking(self, doing: str, uri: str = "", missing: bool = False) -> Iterator[None]:
        """Say what a store says in our words; `uri` is what is asked where that is not the store itself."""
        place = uri or f"the artifact store {self.url}"
        remedy = "correct the URI" if uri else "create the bucket, or correct FLEETML_STORE"
        try:
            yield
        except FleetMLError:
            raise
        except FileNotFoundError as error:
            if missing:
                raise
            raise ConfigurationError(f"{place} must be there, {doing} found nothing: {error}; {remedy}") from error
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"{place} must be a URL that fsspec opens here: {error}; correct it, or install what that needs"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # our own disk
            if isinstance(error, PermissionError) or type(error).__name__ in _REFUSED:
                raise ConfigurationError(
                    f"{place} must let us in, {doing} was refused: {error}; set the credentials that it wants "
                    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), or ask for access"
                ) from error
            raise Unavailable(
                f"{place} must answer, {doing} ended in {type(error).__name__}: {error}; is it up, is AWS_ENDPOINT_URL "
                "right? then resume"
            ) from error


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec.core  # here, as most installations have no store

    options = {"auto_mkdir": True} if url.startswith("file:") else {"use_listings_cache": False}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return fs, str(path)


def _contents(folder: Path) -> dict[str, dict[str, Any]]:
    files: dict[str, Any] = {}
    folders: dict[str, Any] = {}
    links: dict[str, Any] = {}
    for place in sorted(folder.rglob("*")):
        path = place.relative_to(folder).as_posix()
        if place.is_symlink():
            links[path] = os.readlink(place)  # noqa: PTH115 - as it is written
        elif place.is_dir():
            folders[path] = None
        else:
            known = place.stat()
            files[path] = [known.st_size, stat.S_IMODE(known.st_mode) & 0o555]
    return {"files": files, "folders": folders, "links": links}


def _changed(uri: str, digest: str) -> InvalidData:
    return InvalidData(
        f"an artifact is what was made, {uri} is not any more what has the digest {digest[:12]}…; "
        "run the step that made it again, without the cache"
    )


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """Give an empty folder beside `place` that is gone afterwards."""
    folder = place.parent / f".{place.name}.{os.urandom(8).hex()}.partial"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _settle(made: Path, place: Path) -> None:
    """Move what was made aside to its place, unless somebody else was first: theirs is the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if made.is_dir() and not made.is_symlink():
            made.rename(place)
        else:
            os.link(made, place, follow_symlinks=False)
    except OSError:
        if not os.path.lexists(place):
            raise
