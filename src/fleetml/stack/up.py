"""Start the embedded stack, or find it running; end it."""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from fleetml import lockfile
from fleetml.errors import Unavailable
from fleetml.settings import Settings
from fleetml.stack import ports, processes, state
from fleetml.stack.interrupts import uninterrupted
from fleetml.stack.processes import Service
from fleetml.stack.state import Stack

# name -> (module, the port it has when nobody else has it)
SERVERS: dict[str, tuple[str, int]] = {
    "mlflow": ("fleetml.stack.mlflow", 5000),
    "serving": ("fleetml.stack.serving", 50051),
    "rollout": ("fleetml.stack.rollout", 9109),
    "airflow": ("fleetml.stack.airflow", 8080),
}
START_SECONDS = 240.0

Tell = Callable[[str, str], None]
"""Told a server's name and what became of it."""


class PortTaken(Unavailable):
    """Somebody else took a port between our choice of it and the start of our server."""


@dataclass(frozen=True)
class Up:
    """A running stack; `fresh` says whether this call started it."""

    stack: Stack
    fresh: bool


def up(settings: Settings, tell: Tell = lambda name, news: None) -> Up:
    """Return the running stack, started if need be; when this returns every server answers.

    Raises Unavailable, with the end of its log, when a server does not come up; then nothing is left
    running. An interrupt (KeyboardInterrupt) leaves nothing running either.
    """
    with _alone(settings.home, tell):
        found = state.read(settings.home)
        if found and set(found.services) == set(SERVERS) and not found.dead and _all_ready(found):
            return Up(found, fresh=False)
        if found and found.dead:
            tell("stack", f"{', '.join(found.dead)} died; starting anew")
        _end(found, settings.home)
        try:
            return Up(_start(settings, found, tell), fresh=True)
        except BaseException:
            with uninterrupted():
                _end(state.read(settings.home), settings.home)
            raise


def server(settings: Settings, tell: Tell = lambda name, news: None) -> Service:
    """Return the running model server of this stack, started without the others if need be.

    Raises Unavailable, with the end of its log, when it does not come up; then it does not run. Where ``stack.json`` cannot be
    read, an older FleetML's, the whole stack is ended first: nobody knows where its server answers.
    """
    with _alone(settings.home, tell):
        found = state.read(settings.home)
        if found is None and (settings.home / state.FILE).exists():
            tell("stack", f"{state.FILE} cannot be read; ending what it started")
            _end(None, settings.home)
        before = found.services.get("serving") if found else None
        if before and before.alive() and processes.wait_until(partial(_answers, _module("serving"), before), 10.0):
            return before
        if before:
            _module("serving").stop(before)
        started: dict[str, Service] = {}
        with ports.reserving() as reserve:
            try:
                _bring_up("serving", settings, _port("serving", found, reserve, tell), started, tell)
            except BaseException:
                with uninterrupted():
                    for service in started.values():
                        _module("serving").stop(service)
                raise
        others = dict(found.services) if found else {}
        state.write(Stack(settings.home, {**others, **started}, found.started if found else time.time()))
        return started["serving"]


def down(settings: Settings, tell: Tell = lambda name, news: None) -> list[str]:
    """End every process of this checkout's stack; return the names of the servers that were running.

    Raises Unavailable, naming them, when processes survive a kill.
    """
    with _alone(settings.home, tell):
        found = state.read(settings.home)
        running = [name for name, service in found.services.items() if service.alive()] if found else []
        _end(found, settings.home)
        if left := processes.sweep(settings.home):
            survivors = ", ".join(f"{process.pid}" for process in left)
            raise Unavailable(f"no process may outlive the stack of {settings.home}; {survivors} did: end them by hand")
    return running


def _start(settings: Settings, before: Stack | None, tell: Tell) -> Stack:
    """Start every server; once more if somebody else took a port between our choice and the server's start."""
    try:
        return _start_reserved(settings, before, tell)
    except PortTaken as error:
        tell("stack", f"{error}; starting again")
        return _start_reserved(settings, before, tell)


def _start_reserved(settings: Settings, before: Stack | None, tell: Tell) -> Stack:
    with ports.reserving() as reserve:
        chosen = {name: _port(name, before, reserve, tell) for name in SERVERS}
        try:
            return _start_at(chosen, settings, tell)
        except Unavailable as error:
            processes.sweep(settings.home)
            stolen = [name for name, port in chosen.items() if ports.free(port) != port]
            if stolen or "address already in use" in str(error):
                raise PortTaken(f"another process took the port of {', '.join(stolen) or 'a server'}") from error
            raise


def _start_at(chosen: dict[str, int], settings: Settings, tell: Tell) -> Stack:
    settings = replace(
        settings,
        registry=f"http://{ports.HOST}:{chosen['mlflow']}",
        serving_address=f"{ports.HOST}:{chosen['serving']}",
    )
    began = time.time()
    services: dict[str, Service] = {}
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        starting = {name: pool.submit(_bring_up, name, settings, chosen[name], services, tell) for name in SERVERS}
        try:
            _await_all(starting)
        except BaseException:
            with uninterrupted():
                _break_off(starting, settings.home)
            raise
    stack = Stack(settings.home, {name: services[name] for name in SERVERS}, began)
    state.write(stack)
    return stack


def _bring_up(name: str, settings: Settings, port: int, services: dict[str, Service], tell: Tell) -> None:
    module = _module(name)
    began = time.monotonic()
    tell(name, "starting")
    service: Service = module.start(settings, port)
    services[name] = service
    answered = processes.wait_until(lambda: _answers(module, service) or not service.alive(), START_SECONDS)
    if not answered or not service.alive():
        said = "did not answer" if service.alive() else "ended"
        raise Unavailable(_post_mortem(name, f"{said} after {time.monotonic() - began:.0f} s", service))
    tell(name, f"ready after {time.monotonic() - began:.0f} s: {service.address}")


def _post_mortem(name: str, event: str, service: Service) -> str:
    lines = Path(service.log).read_text(errors="replace").splitlines()[-6:] if service.log else []
    tail = "".join(f"\n    {line[:200]}" for line in lines)
    return (
        f"{name} must answer at {service.address}, but it {event}; read {service.log or 'its log'}, which ends:{tail}"
    )


def _await_all(starting: dict[str, Future[None]]) -> None:
    """Wait for all; the first failure is raised at once."""
    waiting = dict(starting)
    while waiting:
        for name in [name for name, future in waiting.items() if future.done()]:
            waiting.pop(name).result()
        time.sleep(0.05)


def _break_off(starting: dict[str, Future[None]], home: Path) -> None:
    """End what was started until no thread can start more."""
    while not all(future.done() for future in starting.values()):
        processes.end(processes.marked(home))
        time.sleep(0.1)


def _port(name: str, before: Stack | None, reserve: Callable[[int | None], int], tell: Tell) -> int:
    """Prefer the port the server had last time, then its usual one; say so when it is another."""
    usual = SERVERS[name][1]
    last = before.port(name) if before else None
    port = reserve(last or usual)
    if port != (last or usual):
        tell(name, f"port {last or usual} is taken: using {port}")
    return port


def _all_ready(stack: Stack) -> bool:
    return all(
        processes.wait_until(partial(_answers, _module(name), service), 10.0)
        for name, service in stack.services.items()
    )


def _answers(module: ModuleType, service: Service) -> bool:
    """Say whether a server is ready, and is ours."""
    return bool(module.ready(service)) and service.listens()


def _end(stack: Stack | None, home: Path) -> None:
    """Stop each server its own way, all at once, then whatever else carries the stack's mark."""
    if stack and stack.services:
        with ThreadPoolExecutor(len(stack.services)) as pool:
            for name, service in stack.services.items():
                pool.submit(_module(name).stop, service)
    processes.sweep(home)
    state.forget(home)


def _module(name: str) -> ModuleType:
    return importlib.import_module(SERVERS[name][0])


@contextlib.contextmanager
def _alone(home: Path, tell: Tell) -> Iterator[None]:
    """Let one command at a time start or stop the stack of this home."""
    home.mkdir(parents=True, exist_ok=True)
    with lockfile.held(
        home / "stack.lock", lambda: tell("stack", "waiting for another command that starts or stops it")
    ):
        yield
