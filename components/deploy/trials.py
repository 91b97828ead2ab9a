"""What a version is asked in its smoke test, by its kind: the server's answer beside that of the version's own graph."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetml.errors import StepFailed
from fleetml.learn.anomaly.samples import METRICS, Numbers, Samples
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.placement.cluster import Cluster
from fleetml.learn.window_anomaly.judge import Asked
from fleetml.learn.windows import Windows
from fleetml.serving import anomaly, placement
from fleetml.serving.client import Client, Node
from fleetml.serving.deployment import Card
from fleetml.serving.kinds import Question
from fleetml.serving.model import Model

CALLS = 200
TOLERANCE = 1e-3
"""float32 through another batch size; relative to the largest value of the answer."""
NODES = 20
ROWS = 20


@dataclass(frozen=True)
class Forecasts:
    """The last held-out window."""

    forecaster: Forecaster
    held_out: Windows

    def ask(self, client: Client, card: Card) -> dict[str, Any]:
        """The look-up of the covariates is part of what is timed."""
        if len(self.held_out) == 0:
            raise StepFailed(
                f"{card.name} version {card.version} cannot be tested without a test window; give more data"
            )
        row = self.held_out[-1:]
        own = self.forecaster.forecast(row)[0].astype(np.float64)
        minutes = row.meta.horizon * row.meta.step_seconds // 60
        vm, history = str(row.vm_id[0]), row.history[0].astype(float).tolist()
        given = {
            reference: float(value)
            for reference, value in zip(row.meta.covariates, row.covariates[0], strict=True)
            if np.isfinite(value)
        }
        # Covariates go along, so that server and graph see the same; none at all would make the server look them up
        answer = client.forecast(card.name, vm, history, minutes, given or dict.fromkeys(row.meta.covariates, np.nan))
        limit = TOLERANCE * max(1.0, float(own.max()))
        if answer.model_version != card.version or len(answer.values) != len(own):
            raise StepFailed(
                f"version {card.version} must answer with {len(own)} values, got {len(answer.values)} of version "
                f"{answer.model_version!r} for {vm}; see the server's log"
            )
        if (worst := float(np.abs(np.array(answer.values) - own).max())) > limit:
            raise StepFailed(
                f"served and own forecast of {card.name} version {card.version} may differ by {limit:.3g}, they differ by "
                f"{worst:.3g} for {vm}; see the server's log"
            )
        if card.name == "bandwidth":
            return timed(card, lambda: client.predict_bandwidth(vm, history, minutes))
        return timed(card, lambda: client.forecast(card.name, vm, history, minutes))


@dataclass(frozen=True)
class Placements:
    """A pod with a GPU, and nodes of the cluster with nothing on them. `model` is the version's own graph."""

    model: Model
    cluster: Cluster

    def ask(self, client: Client, card: Card) -> dict[str, Any]:
        nodes = self.cluster.nodes
        free = nodes.free()
        offered = [
            placement.Node(
                nodes.name[at],
                float(nodes.cpu[at]) / 1000,
                float(nodes.memory[at]),
                free[at, : int(nodes.gpus[at])].tolist(),
                nodes.model[at],
            )
            for at in range(0, len(nodes), max(1, len(nodes) // NODES))
        ]
        spec = next((spec for spec in self.cluster.specs if spec.gpus and not spec.models), self.cluster.specs[0])
        needs = {"cpu": spec.cpu / 1000, "memory": spec.memory, "gpu": float(spec.gpus)}
        needs |= {"gpu_milli": spec.gpu_milli} if spec.gpus else {}
        sent = [Node(node.node_id, node.cpu, node.memory, node.gpu_milli, node.gpu_model) for node in offered]
        answer = client.optimize_placement("smoke-test", needs, sent)
        own = _own(self.model, placement.Question("smoke-test", needs, offered)).predictions
        _compare(card, answer.model_version, np.array([each.score for each in answer.candidates]), own)
        return timed(card, lambda: client.optimize_placement("smoke-test", needs, sent))


@dataclass(frozen=True)
class Anomalies:
    """Held-out rows. `model` is the version's own graph."""

    model: Model
    held_out: Samples

    def ask(self, client: Client, card: Card) -> dict[str, Any]:
        asked = self.held_out.values[-ROWS:].astype(float)
        rows = [
            (str(vm), dict(zip(METRICS, row.tolist(), strict=True)))
            for vm, row in zip(self.held_out.vm_id[-ROWS:], asked, strict=True)
        ]
        for vm, metrics in rows:
            answer = client.detect_anomaly(vm, metrics)
            own = _own(self.model, anomaly.Question(vm, metrics)).predictions
            _compare(card, answer.model_version, np.array([answer.score]), own)
        vm, metrics = rows[-1]
        return timed(card, lambda: client.detect_anomaly(vm, metrics))


@dataclass(frozen=True)
class Series:
    """The last steps of a held-out series [N, 6], by raw tensors. `asked` is the version's own graph."""

    asked: Asked
    held_out: Mapping[str, Numbers]

    def ask(self, client: Client, card: Card) -> dict[str, Any]:
        vm, rows = next(iter(self.held_out.items()))
        inputs = [self.asked.inputs(self.asked.window(rows, at)[None]) for at in range(len(rows))[-ROWS:]]
        for each in inputs:
            answer = client.infer(card.name, each, vm)
            _compare(card, answer.model_version, answer.outputs["score"], self.asked.loaded.run(["score"], each)[0])
        return timed(card, lambda: client.infer(card.name, inputs[-1], vm))


def _own(model: Model, question: Question[Any]) -> Any:
    return question.answer(model, model.session.run(question.inputs(model, {})))


def _compare(card: Card, version: str, served: Any, own: Any) -> None:
    if version != card.version or served.shape != own.shape:
        raise StepFailed(
            f"version {card.version} of {card.name} must answer with {own.shape} scores, got {served.shape} of version "
            f"{version!r}; see the server's log"
        )
    limit = TOLERANCE * max([1.0, *np.abs(own)])
    if len(own) and (worst := float(np.abs(served - own).max())) > limit:
        raise StepFailed(
            f"served and own scores of {card.name} version {card.version} may differ by {limit:.3g}, they differ by "
            f"{worst:.3g}; see the server's log"
        )


def timed(card: Card, call: Callable[[], Any]) -> dict[str, Any]:
    """Return p50 and p99 [ms] of a call whose answers have `model_version`. Raises StepFailed for another version's."""
    taken = np.empty(CALLS)
    for number in range(-5, CALLS):
        began = time.perf_counter()
        answer = call()
        if number >= 0:
            taken[number] = time.perf_counter() - began
        values = getattr(answer, "values", ())
        if answer.model_version != card.version or not np.isfinite(values).all():
            raise StepFailed(f"version {card.version} must answer every call, got {answer}; see the server's log")
    p50, p99 = np.percentile(taken * 1e3, (50, 99))
    return {"grpc_ms_p50": round(float(p50), 3), "grpc_ms_p99": round(float(p99), 3)}
