"""The Flower app of a region: it trains, judges and fits to itself what it is sent; its data stay where they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from components.federated.learner import Learner, Task, seed_of
from components.federated.records import ABOUT, ARRAYS, METRICS, WEIGHT, arrays_of, config_of, packed

REGION = "region"
"""Key of a node's configuration under which it is named."""
SIMULATED = "simulated"
"""Key of the configuration of a node that is no real region, so that all that is random comes from the run's seed."""


def client_app(learner_of: Callable[[Context], Learner], mods: Sequence[Mod] = ()) -> ClientApp:
    """Return the app of a region whose learner `learner_of` makes or remembers; `mods` stand around its training.

    Messages: `query` (who are you, how many examples), `train`, `evaluate`. What they ask stands in the record `config`.
    """
    app = ClientApp()

    @app.query()
    def describe(message: Message, context: Context) -> Message:
        about = ConfigRecord({REGION: _region(context)})
        measured = MetricRecord({"examples": learner_of(context).examples})
        return Message(RecordDict({ABOUT: about, METRICS: measured}), reply_to=message)

    @app.train(mods=list(mods))
    def train(message: Message, context: Context) -> Message:
        return _trained(learner_of(context), message, _region(context))

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return _judged(learner_of(context), message, _region(context))

    return app


def _region(context: Context) -> str:
    return str(context.node_config.get(REGION, context.node_id))


def _trained(learner: Learner, message: Message, region: str) -> Message:
    """Judge the arrays received, then train them."""
    asked, received, began = config_of(message), arrays_of(message), time.monotonic()
    error = learner.judge(received)
    arrays, loss = learner.fit(received, _task(asked, region, int(asked["epochs"])))
    measured = {
        WEIGHT: float(learner.examples if asked["weights"] == "examples" else 1),
        "error": error,
        "loss": loss,
        "seconds": time.monotonic() - began,
    }
    return Message(RecordDict({ARRAYS: packed(arrays), METRICS: MetricRecord(dict(measured))}), reply_to=message)


def _judged(learner: Learner, message: Message, region: str) -> Message:
    """Judge the model received, the same fitted to this region, and where asked one of this region alone."""
    asked, received = config_of(message), arrays_of(message)
    measured = {WEIGHT: float(learner.examples), "common": learner.judge(received)}
    if epochs := int(asked["personal-epochs"]):
        task = _task(asked, region, epochs)
        measured["personal"] = learner.judge(learner.fit(received, task)[0])
    return Message(RecordDict({METRICS: MetricRecord(dict(measured))}), reply_to=message)


def _task(asked: dict[str, Any], region: str, epochs: int) -> Task:
    number = int(asked["server-round"])
    return Task(
        epochs=epochs,
        number=number,
        rounds=int(asked["rounds"]),
        proximal_mu=float(asked.get("proximal-mu", 0.0)),
        seed=seed_of(int(asked["seed"]), number, region),
    )
