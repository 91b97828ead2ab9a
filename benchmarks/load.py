"""Load on a server: clients that ask again as soon as they are answered, and what that cost both sides."""

import asyncio
import time
from dataclasses import dataclass, field

import grpc
import numpy as np
import psutil
import uvloop


@dataclass
class Load:
    """Answers in `seconds`; `taken` by each in seconds; CPU seconds of the server's processes and of this one."""

    seconds: float
    taken: list[float] = field(default_factory=list)
    server_cpu: float = 0.0
    client_cpu: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.taken) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.taken, share)) * 1e3


class _Http(asyncio.Protocol):
    """One connection: sends the same request until `end`."""

    def __init__(self, request: bytes, load: Load, end: float, done: asyncio.Future) -> None:
        self.request, self.load, self.end, self.done = request, load, end, done
        self.buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length: ")
        if at < 0:
            self.fail("an answer without its length")
            return
        length = int(lower[at + 16 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < head + 4 + length:
            return
        if b" 200 " not in self.buffer[:20]:
            self.fail(self.buffer[:300].decode(errors="replace"))
            return
        self.load.taken.append(time.perf_counter() - self.began)
        self.buffer = b""
        if time.perf_counter() < self.end:
            self.ask()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail("the server closed the connection")

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


def http(address: str, path: str, body: bytes, clients: int, seconds: float, server: psutil.Process, kind: str) -> Load:
    """Ask over `clients` connections, kept open."""
    host, _, port = address.rpartition(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"

    async def ask(load: Load) -> None:
        loop, end = asyncio.get_running_loop(), time.perf_counter() + load.seconds
        dones = [loop.create_future() for _ in range(clients)]
        for done in dones:
            await loop.create_connection(
                lambda done=done: _Http(head.encode() + body, load, end, done), host, int(port)
            )
        await asyncio.gather(*dones)

    return _measured(ask, seconds, server)


def rpc(address: str, method: str, request: bytes, clients: int, seconds: float, server: psutil.Process) -> Load:
    """Ask a unary rpc from `clients` tasks, each with a connection of its own."""

    async def ask(load: Load) -> None:
        end = time.perf_counter() + load.seconds

        async def one() -> None:
            async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                call = channel.unary_unary(method)
                while (began := time.perf_counter()) < end:
                    await call(request)
                    load.taken.append(time.perf_counter() - began)

        await asyncio.gather(*(one() for _ in range(clients)))

    return _measured(ask, seconds, server)


def stream(address: str, method: str, request: bytes, clients: int, seconds: float, server: psutil.Process) -> Load:
    """Ask over `clients` streams, one question after the other."""

    async def ask(load: Load) -> None:
        end = time.perf_counter() + load.seconds

        async def one() -> None:
            async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                call = channel.stream_stream(method)()
                while (began := time.perf_counter()) < end:
                    await call.write(request)
                    await call.read()
                    load.taken.append(time.perf_counter() - began)
                await call.done_writing()

        await asyncio.gather(*(one() for _ in range(clients)))

    return _measured(ask, seconds, server)


def _measured(ask, seconds: float, server: psutil.Process) -> Load:
    uvloop.run(ask(Load(min(0.5, seconds / 4))))  # warm
    load, before, mine = Load(seconds), _cpu(server), time.process_time()
    began = time.perf_counter()
    uvloop.run(ask(load))
    load.seconds = time.perf_counter() - began
    load.server_cpu, load.client_cpu = _cpu(server) - before, time.process_time() - mine
    return load


def _cpu(server: psutil.Process) -> float:
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total
