"""The stack's life with small servers of our own in place of the real ones: real processes, real ports."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import types
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fleetml.errors import Unavailable
from fleetml.settings import Settings
from fleetml.stack import ports, processes, state
from fleetml.stack import up as stack
from fleetml.stack.processes import Service

WEB = (
    "import sys, http.server as h; "
    "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


def _server(name: str, code: str = WEB) -> types.ModuleType:
    """A module with the three functions that every server of the stack has."""
    module = types.ModuleType(f"fake_{name}")

    def start(settings: Settings, port: int) -> Service:
        log = settings.home / "logs" / f"{name}.log"
        command = [sys.executable, "-c", code, str(port)]
        process = processes.spawn(command, home=settings.home, log=log, env=dict(os.environ), cwd=settings.project)
        details = {"registry": settings.registry, "serving": settings.serving_address}
        return Service(name, f"http://127.0.0.1:{port}", (process,), str(log), details)

    def ready(service: Service) -> bool:
        try:
            return urllib.request.urlopen(service.address, timeout=1).status == 200
        except OSError:
            return False

    def stop(service: Service) -> None:
        processes.stop(service.processes[0], signal.SIGINT)

    module.start, module.ready, module.stop = start, ready, stop
    return module


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tmp_path / "a checkout with spaces"
    (project / "images").mkdir(parents=True)
    (project / "images" / "images.toml").write_text("[images]")
    servers = {}
    for name in ("mlflow", "serving", "airflow"):
        module = _server(name)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        servers[name] = (module.__name__, ports.free())
    monkeypatch.setattr(stack, "SERVERS", servers)
    made = Settings.from_environment({}, project)
    yield made
    stack.down(made)


def test_up_waits_until_all_answer_and_a_second_up_reuses_them(settings):
    first = stack.up(settings)
    again = stack.up(settings)
    assert (first.fresh, again.fresh) == (True, False)
    assert again.stack == first.stack
    assert all(stack._module(name).ready(service) for name, service in first.stack.services.items())


def test_servers_are_told_of_each_other_and_of_the_settings(settings):
    services = stack.up(settings).stack.services
    assert services["airflow"].details == {
        "registry": services["mlflow"].address,
        "serving": services["serving"].address.removeprefix("http://"),
    }
    found = Settings.from_environment({}, settings.project)
    assert found.registry == services["mlflow"].address


def test_only_the_owner_reads_the_stack_file(settings):
    stack.up(settings)
    assert stat.S_IMODE((settings.home / state.FILE).stat().st_mode) == 0o600


def test_down_leaves_no_process_and_no_file(settings):
    running = stack.up(settings).stack
    assert sorted(stack.down(settings)) == ["airflow", "mlflow", "serving"]
    assert running.dead == list(running.services)
    assert processes.marked(settings.home) == []
    assert not (settings.home / state.FILE).exists()
    assert stack.down(settings) == []


def test_a_stack_that_lost_a_server_is_started_anew(settings):
    lost = stack.up(settings).stack.services["mlflow"].processes[0]
    os.kill(lost.pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not lost.alive(), 60)
    told = []
    again = stack.up(settings, lambda name, news: told.append(news))
    assert again.fresh
    assert "mlflow died; starting anew" in told
    assert again.stack.dead == []


def test_a_taken_port_is_named_and_another_used(settings):
    taken = stack.SERVERS["serving"][1]
    told = []
    with socket.create_server((ports.HOST, taken)):
        running = stack.up(settings, lambda name, news: told.append((name, news))).stack
    assert running.port("serving") != taken
    assert ("serving", f"port {taken} is taken: using {running.port('serving')}") in told


def test_a_port_that_a_stranger_takes_meanwhile_is_left_to_him(settings, monkeypatch):
    """Two checkouts that start at once choose the same free port: the stranger answers there, our server cannot."""
    module, strangers = _server("serving"), []
    start = module.start

    def start_late(settings: Settings, port: int) -> Service:
        if not strangers:
            strangers.append(subprocess.Popen([sys.executable, "-c", WEB, str(port)], stderr=subprocess.DEVNULL))
            assert processes.wait_until(lambda: ports.free(port) != port, 60)
        return start(settings, port)

    module.start = start_late
    monkeypatch.setitem(sys.modules, "fake_serving", module)
    told = []
    try:
        running = stack.up(settings, lambda name, news: told.append(news)).stack
        assert "another process took the port of serving; starting again" in told
        assert running.port("serving") != stack.SERVERS["serving"][1]
        assert running.services["serving"].listens()
        assert strangers[0].poll() is None
    finally:
        strangers[0].kill()
        strangers[0].wait()


def test_a_server_that_dies_is_named_with_its_last_words_and_takes_the_others_along(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "fake_airflow", _server("airflow", "raise SystemExit('no space left')"))
    with pytest.raises(Unavailable, match=r"airflow must answer at .*ended after(.|\n)*no space left"):
        stack.up(settings)
    assert processes.marked(settings.home) == []
    assert not (settings.home / state.FILE).exists()


def test_two_checkouts_run_side_by_side(settings, tmp_path):
    other_project = tmp_path / "second"
    (other_project / "images").mkdir(parents=True)
    (other_project / "images" / "images.toml").write_text("[images]")
    other = Settings.from_environment({}, other_project)
    one = stack.up(settings).stack
    try:
        two = stack.up(other).stack
        taken = {service.address for service in (*one.services.values(), *two.services.values())}
        assert len(taken) == 6
        stack.down(other)
        assert one.dead == []
    finally:
        stack.down(other)


def test_two_ups_at_once_start_one_stack(settings):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(stack.up(settings))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(up.fresh for up in seen) == [False, True]


INTERRUPTED = """
import sys
sys.path[:0] = [{tests!r}]
import test_up as t
from fleetml.settings import Settings
from fleetml.stack import up as stack
from fleetml.stack.interrupts import interruptible
from pathlib import Path
stack.SERVERS = {{}}
for name, code in (("mlflow", t.WEB), ("serving", t.WEB), ("airflow", "import time; time.sleep(600)")):
    module = t._server(name, code)
    sys.modules[module.__name__] = module
    stack.SERVERS[name] = (module.__name__, t.ports.free())

def tell(name, news):
    sys.stdout.write(name + " " + news + "\\n")  # in one piece: servers are told of by threads of their own
    sys.stdout.flush()

with interruptible():
    stack.up(Settings.from_environment({{}}, Path({project!r})), tell)
"""


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_starting_leaves_nothing(settings, sig):
    code = INTERRUPTED.format(tests=str(Path(__file__).parent), project=str(settings.project))
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in command.stdout:
        if line.startswith("mlflow ready"):
            break
    assert processes.wait_until(lambda: len(processes.marked(settings.home)) == 3, 60)
    command.send_signal(sig)
    _, err = command.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert processes.marked(settings.home) == []


def test_a_second_interrupt_while_the_first_is_cleaned_up_leaves_nothing_either(settings):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = INTERRUPTED.format(tests=str(Path(__file__).parent), project=str(settings.project))
    code = code.replace('"import time; time.sleep(600)"', repr(stubborn))
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in command.stdout:
            if line.startswith("mlflow ready"):
                break
        assert processes.wait_until(lambda: len(processes.marked(settings.home)) == 3, 60)
        threading.Thread(target=command.stderr.read, daemon=True).start()
        for _ in range(120):  # the clean-up waits seconds for the stubborn one: several meet it
            command.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(0.5)
                break
        assert command.returncode is not None
        assert processes.marked(settings.home) == []
    finally:
        command.kill()
        processes.sweep(settings.home)


def test_a_half_written_or_foreign_stack_file_counts_as_none(tmp_path):
    (tmp_path / state.FILE).write_text('{"services": {"mlfl')
    assert state.read(tmp_path) is None
    (tmp_path / state.FILE).write_text(json.dumps({"services": {}, "other": 1}))
    assert state.read(tmp_path) is None


def test_a_recorded_pid_of_a_stranger_is_not_stopped(settings):
    running = stack.up(settings).stack
    stranger = psutil.Process()
    stale = replace(processes.Process.of(stranger.pid, ("airflow",)), started=1)
    service = running.services["mlflow"]
    state.write(state.Stack(settings.home, {"mlflow": Service("mlflow", service.address, (stale,))}, 0.0))
    stack.down(settings)
    assert stranger.is_running()
    assert processes.marked(settings.home) == []


def test_the_model_server_alone_is_started_found_again_and_taken_into_the_stack(settings):
    first = stack.server(settings)
    assert stack.server(settings) == first
    assert set(state.read(settings.home).services) == {"serving"}
    whole = stack.up(settings).stack
    assert set(whole.services) == {"mlflow", "serving", "airflow"}
    assert whole.services["serving"].address == first.address
    assert stack.server(settings) == whole.services["serving"]
    os.kill(whole.services["serving"].processes[0].pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not whole.services["serving"].alive(), 60)
    again = stack.server(settings)
    now = state.read(settings.home)
    assert (again.address, again.processes) != (first.address, first.processes)
    assert not now.dead
    assert now.services["mlflow"] == whole.services["mlflow"]


def test_beside_a_model_server_of_an_older_stack_file_no_second_one_is_started(settings):
    old = stack.server(settings)
    path = settings.home / state.FILE
    document = json.loads(path.read_text())
    for process in document["services"]["serving"]["processes"]:
        del process["boot"]
    path.write_text(json.dumps(document))
    told = []
    new = stack.server(settings, lambda name, news: told.append((name, news)))
    assert ("stack", "stack.json cannot be read; ending what it started") in told
    assert not old.alive()
    assert new.alive()
    assert {process.pid for process in processes.marked(settings.home)} == {process.pid for process in new.processes}
    assert stack.server(settings) == new


def test_a_model_server_that_does_not_come_up_is_told_and_the_others_go_on(settings, monkeypatch):
    whole = stack.up(settings).stack
    stack._module("serving").stop(whole.services["serving"])
    broken = _server("serving", "raise SystemExit('no luck')")
    monkeypatch.setitem(sys.modules, broken.__name__, broken)
    with pytest.raises(Unavailable, match="no luck"):
        stack.server(settings)
    now = state.read(settings.home)
    assert now.dead == ["serving"]
