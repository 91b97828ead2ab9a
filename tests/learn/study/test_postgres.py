"""A study in a Postgres of its own (Debian package postgresql)."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings
from fleetml.stack.processes import wait_until

SPACE = {"x": FloatDistribution(0.0, 1.0)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return the address of a database without a password in it; it listens on a free port of this machine."""
    pytest.importorskip("psycopg2")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/postgres"), shutil.which("postgres")]
    if not found or found[0] is None:
        pytest.skip("needs the Debian package postgresql")
    tools = Path(found[0]).resolve().parent
    folder = tmp_path_factory.mktemp("postgres")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    for each in (folder, *folder.parents) if user else ():
        if each == Path(os.environ.get("TMPDIR", "/tmp")):
            break
        each.chmod(0o755)
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [tools / "initdb", "-D", data, "-A", "trust", "-U", "fleet", "--no-sync"],
        check=True,
        user=user,
        stdout=subprocess.DEVNULL,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        tools / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        "-k",
        folder,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, user=user, stdout=log, stderr=log)
    try:
        assert wait_until(
            lambda: (
                subprocess.run(
                    [tools / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL
                ).returncode
                == 0
            ),
            60,
        )
        yield f"postgresql://fleet@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # it does not wait for connections that pools keep
        process.wait()


def test_processes_share_a_study_in_postgres_and_do_its_trials_once(server):
    def work():
        run(lambda trial: trial.params["x"], SPACE, StudySettings(8, sampler="random", storage=server, name="shared"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    result = run(lambda trial: 1 / 0, SPACE, StudySettings(8, sampler="random", storage=server, name="shared"))
    assert [each.state for each in result.outcomes] == ["complete"] * 8
    assert result.reason_to_stop == "8 trials are done"


def test_trials_in_processes_of_their_own_leave_the_connection_alone(server):
    settings = StudySettings(6, sampler="random", storage=server, name="forks", workers=3)
    assert [each.state for each in run(lambda trial: trial.params["x"], SPACE, settings).outcomes] == ["complete"] * 6


def test_what_trials_kept_goes_with_the_result(server, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = StudySettings(1, sampler="random", storage=server, name="kept")
    result = run(lambda trial: trial.keep(b"model") or 1.0, SPACE, settings)
    assert result.kept[0].read_bytes() == b"model"
    del result
    gc.collect()
    assert list(tmp_path.iterdir()) == []
