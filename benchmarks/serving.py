"""The model server beside bare ONNX Runtime and peers: the same graph (seasonal naive, 288 values in, 48 out), the same load.

    python -m benchmarks serving

All servers of a part run at once and are asked in turn, round after round; the table shows medians over the rounds. The load
comes from processes on the same machine, whose CPU is shown. BENCHMARK_ONLY names some peers, BENCHMARK_WORKERS the processes
of a server in the second part, BENCHMARK_SECONDS and BENCHMARK_ROUNDS how long; BENCHMARK_STATE names a file in which what
was measured is kept, so that the same command goes on where it was ended.
"""

import contextlib
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from benchmarks import serving_ours
from benchmarks.load import Generators, Load
from benchmarks.peers import serving as peers
from benchmarks.serving_ours import Subject
from fleetml.learn.baselines import seasonal_naive
from fleetml.learn.windows import Meta
from fleetml.serving import backends

SECONDS = float(os.environ.get("BENCHMARK_SECONDS", "1"))
ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "3"))
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "2"))
PEERS = os.environ["BENCHMARK_ONLY"].split(",") if "BENCHMARK_ONLY" in os.environ else None
GENERATORS = 2
MANY = 64
P99, STEPS = 10.0, 5
"""Milliseconds that the 99th percentile may take at most, and steps of the search for the highest rate that keeps it."""
Figures = Iterator[tuple[str, float, str]]


@dataclass
class Notes:
    """What was measured, by name: a figure a round. `path`: kept there, too."""

    path: Path | None
    known: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path and self.path.exists():
            self.known = json.loads(self.path.read_text())

    def add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.known.setdefault(name, []).append(value)
        if self.path:
            self.path.write_text(json.dumps(self.known))

    def rounds(self, name: str) -> int:
        return len(self.known.get(name, ()))

    def get(self, name: str) -> float:
        """Return the median; NaN for what was not measured."""
        return statistics.median(self.known[name]) if name in self.known else float("nan")


def run() -> Figures:
    """Print the table; yield what the goals ask for."""
    history = np.random.default_rng(0).uniform(10, 100, (1, 288)).astype(np.float32)
    notes = Notes(Path(os.environ["BENCHMARK_STATE"]) if "BENCHMARK_STATE" in os.environ else None)
    with tempfile.TemporaryDirectory() as name, Generators(GENERATORS) as generators:
        graph = Path(name) / "model.onnx"
        graph.write_bytes(seasonal_naive(Meta()).SerializeToString())
        for workers in dict.fromkeys((1, WORKERS)):
            if not notes.rounds(f"{workers} over"):
                _part(notes, generators, graph, history, workers)
                notes.add({f"{workers} over": 1.0})
    _table(notes)
    yield from _goals(notes)


def _part(notes: Notes, generators: Generators, graph: Path, history: np.ndarray, workers: int) -> None:
    """All rounds with `workers` processes a server, then with several each one's highest rate."""
    with contextlib.ExitStack() as stack:
        subjects = _started(stack, graph, history, workers)
        for number in range(ROUNDS):
            _say(f"{workers} workers, round {number + 1} of {ROUNDS}")
            if workers == 1 and notes.rounds("bare") <= number:
                notes.add({"bare": _bare(graph, history)})
            for subject in subjects:
                try:
                    _round(notes, generators, subject, workers, number)
                except (RuntimeError, OSError, grpc.RpcError) as error:
                    _say(f"{subject.name} is left out of this round: {error}")
        for subject in subjects if workers > 1 else ():
            _say(f"highest rates of {subject.name}")
            for protocol, ask in subject.asks.items():
                place = f"{workers} {subject.name}, {protocol}"
                if not notes.rounds(f"{place}, highest"):
                    ask_at = functools.partial(generators.load, ask, MANY, SECONDS, subject.process)
                    notes.add({f"{place}, highest": _highest(ask_at, notes.get(f"{place}, {MANY}, rate"))})
        _say("ending the servers")


def _round(notes: Notes, generators: Generators, subject: Subject, workers: int, number: int) -> None:
    for protocol, ask in subject.asks.items():
        for clients in (1, MANY) if workers == 1 else (MANY,):
            place = f"{workers} {subject.name}, {protocol}, {clients}"
            if notes.rounds(f"{place}, p50") <= number:
                notes.add(_figures(place, generators.load(ask, clients, SECONDS, subject.process)))
    if workers == 1:
        _batches(notes, generators, subject, number)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _started(stack: contextlib.ExitStack, graph: Path, history: np.ndarray, workers: int) -> list[Subject]:
    """Start all servers at once; one that does not answer is told of and left out."""
    folder = graph.parent
    _say(f"starting the servers, {workers} workers each")

    def start(name: str) -> Subject | None:
        (scratch := folder / f"{name}-{workers}").mkdir()
        kind = functools.partial(peers.running, name) if name != "ours" else serving_ours.running
        try:
            return stack.enter_context(kind(graph, scratch, history, workers))
        except (TimeoutError, RuntimeError, OSError) as error:
            print(f"{name}, {workers} workers: {error}", file=sys.stderr)
            return None

    with ThreadPoolExecutor() as pool:
        found = pool.map(start, ["ours", *(peers.installed() if PEERS is None else PEERS)])
        return [subject for subject in found if subject]


def _figures(place: str, found: Load) -> dict[str, float]:
    answers = max(1, len(found.taken))
    return {
        f"{place}, p50": found.quantile(0.5),
        f"{place}, p99": found.quantile(0.99),
        f"{place}, rate": found.rate,
        f"{place}, server": found.server_cpu / answers * 1e3,
        f"{place}, generator": found.client_cpu / answers * 1e3,
    }


def _batches(notes: Notes, generators: Generators, subject: Subject, number: int) -> None:
    for name, ask in subject.batches.items():
        if notes.rounds(f"batch {name}") <= number:
            found = generators.load(ask, 2 if name == "4096 rows" else 1, SECONDS, subject.process)
            notes.add({f"batch {name}": found.rate * 4096 if name == "4096 rows" else found.quantile(0.5)})


def _highest(ask_at: Callable[[float], Load], most: float) -> float:
    """Return the highest offered rate (requests a second) that keeps the p99, by bisection below the closed rate `most`."""
    low, high = 0.0, most
    for _ in range(STEPS):
        rate = (low + high) / 2
        found = ask_at(rate)
        kept = len(found.taken) > 0.95 * rate * found.seconds and found.quantile(0.99) <= P99
        low, high = (rate, high) if kept else (low, rate)
    return low


def _bare(graph: Path, history: np.ndarray) -> float:
    """Milliseconds of `session.run`, the median."""
    session = backends.choose("cpu").load(graph.read_bytes())
    given = {"history": history, "covariates": np.empty((1, 0), np.float32)}
    taken = []
    for _ in range(5000):
        began = time.perf_counter()
        session.run(given)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1e3


def _places(notes: Notes) -> list[str]:
    return [name.removesuffix(f", {MANY}, p50") for name in notes.known if name.endswith(f", {MANY}, p50")]


def _table(notes: Notes) -> None:
    """A row for each server and protocol; CPU is of 64 clients, per request, of all processes of the server and of the load."""
    columns = [
        (1, "p50"),
        (1, "p99"),
        (MANY, "p50"),
        (MANY, "p99"),
        (MANY, "rate"),
        (MANY, "server"),
        (MANY, "generator"),
    ]
    heads = ("1: p50", "p99 ms", "64: p50", "p99 ms", "1/s", "CPU ms", "of load", f"1/s at p99<={P99:g}")
    print(f"{'workers server, protocol':<36}", *(f"{head:>9}" for head in heads))
    for place in _places(notes):
        values = [notes.get(f"{place}, {clients}, {figure}") for clients, figure in columns]
        cells = [
            f"{value:9,.0f}" if value >= 1000 else f"{value:9.3f}"
            for value in (*values, notes.get(f"{place}, highest"))
        ]
        print(f"{place:<36}", *(cell.replace("nan", "  -") for cell in cells))


def _goals(notes: Notes) -> Figures:
    bare = notes.get("bare")
    yield "bare session.run, batch 1, p50", bare, "ms"
    for protocol, most in (("REST JSON", 0.6), ("REST raw tensors", 0.6), ("gRPC unary", 0.9)):
        over = notes.get(f"1 ours, {protocol}, 1, p50") - bare
        yield f"{protocol}, 1 client: p50 over bare", over, f"ms, goal <= {most}: {_met(over <= most)}"
    for protocol in ("REST JSON", "gRPC unary"):
        rates = {
            place: notes.get(f"{place}, {MANY}, rate") for place in _places(notes) if place.endswith(f", {protocol}")
        }
        mine = max((rate for place, rate in rates.items() if " ours," in place), default=float("nan"))
        best = max((place for place in rates if " ours," not in place), key=rates.__getitem__, default="")
        if best:
            times = mine / rates[best]
            yield f"{protocol}, 64 clients: requests of ours / of {best}", times, f"x, goal >= 2: {_met(times >= 2)}"
    rows = notes.get("batch 4096 rows")
    yield "batches of 4096 rows by gRPC", rows, f"rows/s, goal >= 100,000: {_met(rows >= 100_000)}"
    for protocol in ("REST raw tensors", "REST JSON", "REST predict"):
        times = 100 * notes.get(f"1 ours, {protocol}, 1, p50") / notes.get(f"batch {protocol}")
        goal = f", goal >= 50: {_met(times >= 50)}" if protocol == "REST raw tensors" else ""
        yield f"{protocol}: 100 single calls / one of 100", times, f"x{goal}"
    for clients in (1, MANY):
        times = notes.get(f"1 ours, gRPC PredictBandwidth, {clients}, p50") / notes.get(
            f"1 ours, REST predict, {clients}, p50"
        )
        yield f"the same question, {clients} clients: p50 by gRPC / by HTTP and JSON", times, "x"


def _met(is_so: bool) -> str:
    return "met" if is_so else "not met"
