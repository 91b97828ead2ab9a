"""The kind placement: what a workload needs and the nodes there are in, the nodes that have room out, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fleetml.data import MOST_GPUS, WHOLE
from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.placement import rows
from fleetml.learn.placement.cluster import Spec
from fleetml.learn.placement.simulator import Room
from fleetml.serving.backends import Arrays, Session
from fleetml.serving.model import Model

NEEDS = ("cpu", "memory", "gpu", "gpu_milli")
MODEL = "gpu_model."


class Placement:
    """`about` is the graph's `Description`."""

    def open(self, name: str, session: Session) -> scorer.Description:
        said = scorer.describe(session.metadata)
        try:
            gpu_models = rows.models(said.about["columns"])
            given = rows.of(_room([Node("a", 4.0, 64.0, (500.0,))] * 2), np.arange(2), Spec(1.0, 1.0), gpu_models)
            made = session.run({"candidates": given})
            fits = made["score"].shape == (2, 1) and made["terms"].shape == (2, len(said.about["terms"]))
        except Exception as error:  # a runtime's errors share no base
            raise InvalidGraph(f"model {name} must be a placement graph, got {error!r}; train it again") from error
        if not fits or not all(np.isfinite(array).all() for array in made.values()):
            raise InvalidGraph(f"model {name} must score each candidate by a finite number; train it again")
        return said

    def covariates(self, about: scorer.Description) -> Sequence[str]:
        return ()

    def columns(self, about: scorer.Description) -> Sequence[str]:
        return ("candidates", *rows.POD)

    def features(self, about: scorer.Description, inputs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
        first = (each["candidates"] for each in inputs)
        return np.array([[len(given), *given[0, : len(rows.POD)]] for given in first], dtype=np.float64)

    def told(self, about: scorer.Description, outputs: Arrays) -> None:
        """Rows alone do not say which workload they are candidates for."""


KIND = Placement()


@dataclass(frozen=True)
class Node:
    """A node as it is now: cpu in cores, memory in MiB, what each of its GPUs has to give in milli, their model."""

    node_id: str
    cpu: float
    memory: float
    gpu_milli: Sequence[float] = ()
    gpu_model: str = ""


@dataclass(frozen=True)
class Candidate:
    """A node with room; a higher score is better."""

    node_id: str
    score: float
    reasoning: str


@dataclass(frozen=True)
class Ranking:
    """The nodes with room, best first; none: the workload fits nowhere."""

    candidates: tuple[Candidate, ...]
    step_seconds = 0

    @property
    def predictions(self) -> npt.NDArray[np.float64]:
        return np.array([candidate.score for candidate in self.candidates])


@dataclass(frozen=True)
class Question:
    """Where should a workload go? `needs`: cpu [cores], memory [MiB], gpu [count], gpu_milli [of each, 1000: whole],
    ``gpu_model.T4``: 1 for each model it may use (none: any). Raises InvalidParameter for what cannot be.
    """

    workload_id: str
    needs: Mapping[str, float]
    nodes: Sequence[Node]
    as_of: datetime | None = None
    kind = "placement"

    def __post_init__(self) -> None:
        if not self.workload_id:
            raise InvalidParameter("a placement needs the workload it is for, got an empty workload_id; set it")
        if not self.nodes:
            raise InvalidParameter("a placement needs nodes to choose from, got no available_nodes; send them")
        _check_needs(self.needs)
        seen: set[str] = set()
        for node in self.nodes:
            _check_node(node, seen)
            seen.add(node.node_id)

    @property
    def key(self) -> str:
        return self.workload_id

    @cached_property
    def spec(self) -> Spec:
        gpus = int(self.needs.get("gpu", 0))
        models = "|".join(sorted(name.removeprefix(MODEL) for name, on in self.needs.items() if MODEL in name and on))
        milli = self.needs.get("gpu_milli", float(WHOLE)) if gpus else 0.0
        return Spec(1000.0 * self.needs.get("cpu", 0.0), self.needs.get("memory", 0.0), gpus, milli, models)

    def wanted(self, model: Model) -> Sequence[str]:
        return ()

    def inputs(self, model: Model, found: Mapping[str, float]) -> Arrays:
        everywhere = np.arange(len(self.nodes))
        return {
            "candidates": rows.of(_room(self.nodes), everywhere, self.spec, rows.models(model.about.about["columns"]))
        }

    def answer(self, model: Model, outputs: Arrays) -> Ranking:
        room = _room(self.nodes)
        fits = [
            row for row in room.fits(self.spec, np.arange(len(self.nodes))) if self.spec.runs_on(str(room.model[row]))
        ]
        scores, terms = outputs["score"][:, 0], outputs["terms"]
        ranked = sorted(fits, key=lambda row: (-scores[row], self.nodes[row].node_id))
        mean = terms[fits].mean(axis=0) if fits else terms[:0]
        names = model.about.about["terms"]
        return Ranking(
            tuple(
                Candidate(
                    self.nodes[row].node_id,
                    float(scores[row]),
                    _reason(room, self.spec, int(row), names, terms[row] - mean),
                )
                for row in ranked
            )
        )


def _reason(room: Room, spec: Spec, row: int, names: Sequence[str], ahead: npt.NDArray[np.float32]) -> str:
    """Say what is left on the node, and which terms speak for and against it, beside the mean of the candidates."""
    cores, gpus = (room.cpu[row] - spec.cpu) / 1000, (room.gpus[row].sum() - spec.demand) / WHOLE
    left = f"leaves {cores:.4g} cores, {room.memory[row] - spec.memory:.6g} MiB, {gpus:.4g} GPUs"
    order = np.argsort(ahead)
    told = [
        (word, place) for word, place in (("for it", order[-1]), ("against it", order[0])) if abs(ahead[place]) > 1e-4
    ]
    said = [f"{word} {names[place].replace('_', ' ')} ({ahead[place]:+.3f})" for word, place in told]
    right = [text for text in said if ("+" in text) == text.startswith("for it")]
    return "; ".join([left, *right])


def _room(nodes: Sequence[Node]) -> Room:
    gpus = np.zeros((len(nodes), MOST_GPUS), np.float32)
    for row, node in zip(gpus, nodes, strict=True):
        row[: len(node.gpu_milli)] = sorted(node.gpu_milli, reverse=True)
    cpu, memory = ([getattr(node, name) for node in nodes] for name in ("cpu", "memory"))
    model = np.array([node.gpu_model for node in nodes], dtype=str)
    return Room(1000 * np.array(cpu, np.float32), np.array(memory, np.float32), gpus, model)


def _check_needs(needs: Mapping[str, float]) -> None:
    for name, value in needs.items():
        if name not in NEEDS and not name.startswith(MODEL):
            raise InvalidParameter(
                f"requirements are {', '.join(NEEDS)} and {MODEL}<name>, got {name!r}; correct or remove it"
            )
        if not (math.isfinite(value) and value >= 0):
            raise InvalidParameter(f"requirements[{name!r}] must be a number from 0, got {value}; correct it")
    gpus, milli = needs.get("gpu", 0), needs.get("gpu_milli", WHOLE)
    if gpus != int(gpus) or gpus > MOST_GPUS:
        raise InvalidParameter(f"requirements['gpu'] must be a whole number up to {MOST_GPUS}, got {gpus}; correct it")
    if (gpus and not 0 < milli <= WHOLE) or (gpus > 1 and milli != WHOLE):
        raise InvalidParameter(
            f"requirements['gpu_milli'] must be above 0 and up to {WHOLE}, and {WHOLE} for several GPUs, got {milli}; correct it"
        )


def _check_node(node: Node, seen: set[str]) -> None:
    if not node.node_id or node.node_id in seen:
        raise InvalidParameter(f"each of available_nodes needs a node_id of its own, got {node.node_id!r}; correct it")
    if len(node.gpu_milli) > MOST_GPUS:
        raise InvalidParameter(
            f"a node has at most {MOST_GPUS} GPUs, {node.node_id} has {len(node.gpu_milli)}; send it as several nodes"
        )
    for name, value in (
        ("cpu", node.cpu),
        ("memory", node.memory),
        *(("gpu_milli", milli) for milli in node.gpu_milli),
    ):
        if not (math.isfinite(value) and value >= 0) or (name == "gpu_milli" and value > WHOLE):
            raise InvalidParameter(
                f"{name}_available of node {node.node_id} must be a finite number from 0"
                f"{f' to {WHOLE}' if name == 'gpu_milli' else ''}, got {value}; correct it"
            )
