"""What containers alone have: images, users, mounts, hard limits, strays. The rest is the conformance of all runners."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetml.cost import meters
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.images import Images
from fleetml.runners import Command, ContainerRunner, Exit, Limits, cgroup, choice, container, docker, docker_engine
from fleetml.runners.docker import DockerRunner
from fleetml.runners.docker_engine import OWNER
from fleetml.settings import Settings
from tests.containers import Containers


def run(containers: Containers, *argv: str, runner: DockerRunner | None = None, **known: object) -> tuple[Exit, list]:
    lines: list[str] = []
    command = Command(argv, known.pop("image", containers.image), **known)
    return (runner or containers.runner()).run(command, lines.append, threading.Event()), lines


def ours() -> list[str]:
    """The ids of the containers that this process has."""
    owner = container.owner()
    found = docker_engine.connection().client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True)
    return [container.id for container in found if container.labels[OWNER] == owner]


def test_containers_that_fail_at_once_are_all_told_as_failed_and_gone(containers: Containers) -> None:
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda n: run(containers, "sh", "-c", f"echo {n}; exit 3"), range(40)))
    assert [(exit.status, lines) for exit, lines in ended] == [(3, [str(n)]) for n in range(40)]
    assert ours() == []


def test_folders_are_at_their_own_paths_inputs_can_only_be_read(containers: Containers, tmp_path: Path) -> None:
    given, made = tmp_path / "gi ven", tmp_path / "made"
    given.mkdir()
    made.mkdir()
    (given / "x").write_text("word")
    known = {"readable": (given,), "writable": (made,)}
    assert run(containers, "sh", "-c", f"cp '{given}/x' '{made}/y'", **known)[0].succeeded
    assert (made / "y").read_text() == "word"
    exit, lines = run(containers, "sh", "-c", f"echo z > '{given}/x'", **known)
    assert (exit.succeeded, (given / "x").read_text()) == (False, "word")
    assert "Read-only" in lines[0]


def test_it_is_our_user_who_has_a_home_and_gets_no_privileges(containers: Containers) -> None:
    code = "import getpass, os, pathlib; pathlib.Path.home().joinpath('x').touch(); print(os.getuid(), os.getgid())"
    assert run(containers, "python", "-c", code)[1] == [f"{os.getuid()} {os.getgid()}"]
    assert run(containers, "sh", "-c", "grep NoNewPrivs /proc/self/status")[1] == ["NoNewPrivs:\t1"]


def test_cores_are_a_hard_limit_and_more_than_there_are_is_none(containers: Containers) -> None:
    quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    command = ("sh", "-c", f"{quota}; echo $OMP_NUM_THREADS")
    assert run(containers, *command, limits=Limits(cpus=0.5))[1] == ["50000", "1"]
    assert run(containers, *command, limits=Limits(cpus=512))[1] == [str(100_000 * (os.cpu_count() or 1)), "512"]


def test_a_limit_that_the_engine_refuses_is_the_step_s_mistake(containers: Containers) -> None:
    with pytest.raises(ConfigurationError, match=r"fleetml/ml.*[Mm]emory.*limits"):
        run(containers, "true", limits=Limits(memory=1000))


def test_the_network_is_the_host_s(containers: Containers) -> None:
    assert run(containers, "readlink", "/proc/self/ns/net")[1] == [str(Path("/proc/self/ns/net").readlink())]


def test_arguments_go_to_the_image_s_own_entry_point(containers: Containers) -> None:
    client = docker_engine.connection().client
    tag = f"{containers.reference}-entry"
    base = client.containers.create(containers.reference, command=["true"])
    try:
        entry = base.commit(tag, changes='ENTRYPOINT ["echo", "entry"]')
    finally:
        base.remove()
    try:
        image = replace(containers.image, reference=tag, digest=entry.id)
        assert run(containers, "a", "b c", image=image, own_entry=True)[1] == ["entry a b c"]
        assert run(containers, "echo", "mine", image=image)[1] == ["mine"]
    finally:
        client.images.remove(tag, force=True)


def test_an_image_is_pinned_by_its_content(containers: Containers, project: Settings) -> None:
    runner = containers.runner()
    assert isinstance(runner, ContainerRunner)
    image = Images(project.project, runner.pin).resolve(containers.reference)
    assert image.environment_digest() == docker_engine.connection().client.images.get(containers.reference).id
    assert runner.pin("r.example/x@sha256:ab", False) == "sha256:ab"  # no engine need be asked


def test_an_image_of_ours_that_was_not_built_is_never_looked_for_elsewhere(containers: Containers) -> None:
    with pytest.raises(ConfigurationError, match=r"'fleetml/none'.*make images"):
        containers.runner().pin("fleetml/none", True)


def test_a_stranger_s_image_that_cannot_be_had_is_named(containers: Containers) -> None:
    with pytest.raises(ConfigurationError, match=r"'127.0.0.1:9/no/such'.*cannot be pulled"):
        containers.runner().pin("127.0.0.1:9/no/such", False)
    gone = replace(containers.image, reference="127.0.0.1:9/no/such@sha256:" + 64 * "0", digest="sha256:" + 64 * "0")
    with pytest.raises(ConfigurationError, match="cannot be pulled"):
        run(containers, "true", image=gone)


def test_the_installation_s_folders_are_there_too(containers: Containers, project: Settings, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    runner = choice.choose(replace(project, runner="docker", mounts=(extra,)))
    assert isinstance(runner, DockerRunner)
    places = (project.serving_dir, project.feature_store, project.home / "registry", extra)
    with_system = replace(runner, mounts=(*runner.mounts, *containers.mounts))
    made = [str(place / "x") for place in places]
    assert run(containers, "touch", *made, runner=with_system)[0].succeeded
    assert all(Path(file).exists() for file in made)


def test_a_file_that_is_no_program_is_named(containers: Containers) -> None:
    with pytest.raises(ConfigurationError, match=r"'/etc/hosts'.*correct the component's command"):
        run(containers, "/etc/hosts")


def test_a_container_tells_whose_it_is(containers: Containers) -> None:
    seen: list[dict] = []

    def look(line: str) -> None:
        seen.extend(docker_engine.connection().client.api.inspect_container(found) for found in ours())

    containers.runner().run(Command(("echo", "up"), containers.image), look, threading.Event())
    (found,) = seen
    assert found["Config"]["Labels"]["fleetml.image"] == "fleetml/ml"
    assert found["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert found["HostConfig"]["LogConfig"]["Type"] == "none"


def test_a_connection_that_is_silent_for_long_is_no_end(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_PATIENCE", 0.1)
    exit, _ = run(containers, "sh", "-c", "sleep 1; exit 7")
    assert (exit.status, exit.ended) == (7, "itself")


def test_an_engine_that_goes_away_is_told(
    containers: Containers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, image, runner = docker_engine.connection().client, containers.image, containers.runner()
    with Proxy(tmp_path / "engine.sock", _socket()) as proxy:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
        command = Command(("sh", "-c", "echo up; sleep 600"), image)
        with pytest.raises(Unavailable, match="Docker engine"):
            runner.run(command, lambda line: proxy.cut(), threading.Event())
    for each in real.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
        if each.labels[OWNER] == container.owner():
            each.remove(force=True)


def _socket() -> Path:
    return Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))


class Proxy:
    """A way to the engine that can be cut; for a block."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.path, self._engine = path, engine
        self._server = socket.socket(socket.AF_UNIX)
        self._ends: list[socket.socket] = [self._server]

    def __enter__(self) -> Proxy:
        self._server.bind(str(self.path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        self.path.unlink(missing_ok=True)
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, theirs = self._server.accept()[0], socket.socket(socket.AF_UNIX)
                theirs.connect(str(self._engine))
                self._ends += [ours, theirs]
                for source, target in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class TestMeters:
    """What processors counted while a container ran; no engine is asked."""

    @pytest.fixture
    def counter(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The energy counter of a made-up machine."""
        package, stat = tmp_path / "powercap" / "intel-rapl:0", tmp_path / "stat"
        package.mkdir(parents=True)
        for name, content in (("name", "package-0"), ("max_energy_range_uj", "1000000000"), ("energy_uj", "7000000")):
            (package / name).write_text(content)
        stat.write_text("cpu 100 0 0 900 0 0 0 0 0 0\ncpu0 100 0 0 900 0 0 0 0 0 0\n")
        real = meters.Meter
        monkeypatch.setattr(meters, "Meter", lambda family: real(family, package.parent, stat, lambda: None))
        return package / "energy_uj"

    @staticmethod
    def watch(stats: Callable[..., dict[str, Any]] | None = None) -> docker._Watch:
        api = SimpleNamespace(stats=stats)
        one = SimpleNamespace(id="x", attrs={"State": {"Pid": os.getpid()}}, client=SimpleNamespace(api=api))
        return docker._Watch(one, None, 0.0)  # type: ignore[arg-type] - nobody reads here

    def test_a_container_has_its_part_of_what_the_processors_counted(
        self, counter: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = self.watch()

        def use() -> tuple[float, int]:  # 5 J, while the machine was busy for 4 s
            counter.write_text("12000000")
            (counter.parents[2] / "stat").write_text(f"cpu {100 + 4 * os.sysconf('SC_CLK_TCK')} 0 0 900 0 0 0 0 0 0\n")
            watch._over.set()
            return 2.0, 4096

        monkeypatch.setattr(cgroup, "of", lambda pid: use if pid == os.getpid() else None)
        watch._measure()
        assert (watch.cpu_seconds, watch.peak) == (2.0, 4096)
        assert watch.drawn() == {"machine_cpu_seconds": 4.0, "vcpus": 1, "joules": 2.5}

    def test_of_a_container_elsewhere_this_machine_s_meters_tell_nothing(
        self, counter: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stats(*_: Any, **__: Any) -> dict[str, Any]:
            counter.write_text("12000000")
            watch._over.set()
            return {
                "cpu_stats": {"cpu_usage": {"total_usage": 2_000_000_000}},
                "memory_stats": {"usage": 5096, "stats": {"inactive_file": 1000}},
            }

        watch = self.watch(stats)
        monkeypatch.setattr(cgroup, "of", lambda pid: None)
        watch._measure()
        assert (watch.cpu_seconds, watch.peak) == (2.0, 4096)
        assert watch.drawn() == {}


class TestControlGroups:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for process, group in (("self", "/"), ("7", "/docker/x")):
            (tmp_path / "proc" / process).mkdir(parents=True)
            lines = (f"3:cpu,cpuacct:{group}", f"2:memory:{group}", f"0::{group}")
            (tmp_path / "proc" / process / "cgroup").write_text("\n".join(lines) + "\n")
        return tmp_path

    def test_the_unified_hierarchy(self, root: Path) -> None:
        (root / "docker/x").mkdir(parents=True)
        (root / "docker/x/cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
        (root / "docker/x/memory.current").write_text("5096\n")
        (root / "docker/x/memory.stat").write_text("anon 4000\ninactive_file 1000\n")
        use = cgroup.of(7, root, root / "proc")
        assert use
        assert use() == (1.5, 4096)

    def test_the_hierarchies_of_version_one(self, root: Path) -> None:
        for name, file, text in (("cpuacct", "usage", "2500000000"), ("memory", "usage_in_bytes", "9192")):
            (root / name / "docker/x").mkdir(parents=True)
            (root / name / "docker/x" / f"{name}.{file}").write_text(text)
        (root / "memory/docker/x/memory.stat").write_text("rss 8000\ntotal_inactive_file 1000\n")
        use = cgroup.of(7, root, root / "proc")
        assert use
        assert use() == (2.5, 8192)

    def test_what_cannot_be_seen(self, root: Path) -> None:
        assert cgroup.of(7, root, root / "proc") is None
        assert cgroup.of(8, root, root / "proc") is None
        (root / "proc/7/cgroup").write_text((root / "proc/self/cgroup").read_text())
        assert cgroup.of(7, root, root / "proc") is None
