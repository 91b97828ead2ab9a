"""What stands between a region's training and the wire: clipping and noise, then fewer bytes. Flower's mods, run in the region."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from components.federated import privacy, spent, stream, updates
from components.federated.app import REGION, SIMULATED
from components.federated.learner import Arrays
from components.federated.records import ARRAYS, CONFIG, METRICS, WEIGHT, arrays_of, packed, unpacked
from components.federated.updates import Coding, Difference
from fleetml.errors import InvalidData

CHANGE = "change"
"""Name of the record that stands in place of `arrays`: what training changed, in the parts of `updates`."""
PRIVACY, SENDING = "privacy", "sending"
"""Names of the records in which the server says how: by which mechanism, in which coding. Also of what a region keeps of its own."""
EPSILON, SPENT = "epsilon", "spent"
"""Keys of a node's configuration: its own epsilon for all runs, and the file of what it has spent of it; both or neither."""
OWN_DELTA = 1e-5
"""At which a node's own epsilon holds, whatever delta the server would like."""


def change_of(answer: Message, sent: Arrays) -> Difference:
    """Return what training changed, in float32 and not coded yet."""
    if CHANGE in answer.content.array_records:
        return dict(unpacked(answer.content.array_records[CHANGE]))
    return updates.difference(arrays_of(answer), sent)


def private(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clip what training changed and, for local privacy, add the region's own noise.

    Of local privacy the region keeps its own ledger, and draws noise that nobody knows; it relies on the server for neither. The noise of
    a simulated region comes from the run's seed.
    """
    asked = dict(message.content.config_records.get(PRIVACY, ConfigRecord()))
    if EPSILON in context.node_config and asked.get("kind") != "local":
        raise InvalidData(
            f"a node with an epsilon of its own trains under privacy local alone, got {asked.get('kind') or 'none'!r}; give the run "
            "privacy local, or start the node without --epsilon"
        )
    if not asked:
        return call_next(message, context)
    mechanism = privacy.Mechanism(**asked)  # type: ignore[arg-type]
    if mechanism.kind == "local":
        _charge(context, mechanism)
    answer = call_next(message, context)
    if answer.has_error():
        return answer
    change = privacy.clipped(change_of(answer, arrays_of(message)), mechanism.clip)
    if mechanism.kind == "local":
        change = privacy.noised(change, mechanism.deviation, _noise_key(message, context))
    change = {name: value.astype(np.float32) for name, value in change.items()}
    return _with_change(answer, message, change, quiet=mechanism.kind == "local")


def coded(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Write what training changed in fewer bytes; what that loses is kept in the region for its next answer."""
    answer = call_next(message, context)
    if SENDING not in message.content.config_records or answer.has_error():
        return answer
    change = change_of(answer, arrays_of(message))
    owed = unpacked(context.state.array_records[SENDING]) if SENDING in context.state.array_records else {}
    parts, lost = updates.encode(change, coding_of(message.content), owed)
    context.state.array_records[SENDING] = packed(lost)
    return _with_change(answer, message, parts)


def coding_of(content: RecordDict) -> Coding:
    """Return the coding that a message asks for."""
    asked: Mapping[str, Any] = content.config_records[SENDING]
    return Coding(int(asked["bits"]), float(asked["share"]))


def _charge(context: Context, mechanism: privacy.Mechanism) -> None:
    """Write a round down before it is trained. Raises BudgetSpent: over the node's own epsilon for all runs, else over the run's."""
    name = str(context.node_config.get(REGION, context.node_id))
    if own := float(context.node_config.get(EPSILON, 0.0)):
        delta = min(mechanism.delta, OWN_DELTA)
        limited = privacy.Mechanism(mechanism.kind, own, delta, mechanism.clip, mechanism.multiplier)
        place = Path(str(context.node_config[SPENT]))
        spent.write(place, spent.read(place).charged([name], limited))
        return
    kept = context.state.config_records.get(PRIVACY, ConfigRecord())
    ledger = privacy.Ledger.of({name: list(kept["spent"])} if kept else {})  # type: ignore[arg-type]
    rounds, squares = ledger.charged([name], mechanism).regions[name]
    context.state.config_records[PRIVACY] = ConfigRecord({"spent": [float(rounds), squares]})


def _noise_key(message: Message, context: Context) -> bytes:
    if not context.node_config.get(SIMULATED):
        return stream.fresh()
    asked = message.content.config_records[CONFIG]
    return stream.derived(asked["seed"], "local noise", asked["server-round"], context.node_config[REGION])


def _with_change(answer: Message, message: Message, change: Difference, quiet: bool = False) -> Message:
    """Return an answer with `change` in place of `arrays`; a quiet one measures nothing, not even how many examples it has."""
    if not all(np.isfinite(value).all() for value in change.values()):
        raise InvalidData("what training changed is finite, got NaN or infinity; lower the learning rate")
    measured = MetricRecord({WEIGHT: 1.0}) if quiet else answer.content.metric_records[METRICS]
    content = {name: record for name, record in answer.content.items() if name not in (ARRAYS, CHANGE, METRICS)}
    return Message(RecordDict({CHANGE: packed(change), METRICS: measured, **content}), reply_to=message)
