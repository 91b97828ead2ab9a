"""Which answers of a round may be averaged: those that came, are models of the shape that was sent, and are finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Message

from components.federated.channel import Channel
from components.federated.learner import Arrays
from components.federated.records import ARRAYS, METRICS, WEIGHT, arrays_of, metrics_of

_HEAVIEST = 2.0**53
"""A number of examples: more cannot be told apart, and their sum would not be finite."""


@dataclass(frozen=True)
class Answers:
    """Answers to average by the name of their region, in its order, and who was left out, with the reason."""

    kept: Mapping[str, Message]
    left_out: Mapping[str, str]


def checked(replies: Iterable[Message], asked: Mapping[int, str], sent: Arrays, channel: Channel) -> Answers:
    """Sort the replies to a model `sent` to the nodes `asked`."""
    kept: dict[str, Message] = {}
    left_out = dict.fromkeys(asked.values(), "late")
    for reply in replies:
        if (name := asked.get(reply.metadata.src_node_id)) is None:
            continue
        answer, fault = _checked(reply, sent, channel)
        if fault:
            left_out[name] = fault
        else:
            kept[name] = answer
            left_out.pop(name, None)
    return Answers(dict(sorted(kept.items())), dict(sorted(left_out.items())))


def _checked(reply: Message, sent: Arrays, channel: Channel) -> tuple[Message, str]:
    """Return an answer as a whole model, and what is wrong with it, "" for nothing."""
    if reply.has_error():
        return reply, f"failed: {_brief(reply.error.reason)}"
    try:
        answer = channel.opened(reply, sent)
        given, weight = arrays_of(answer), metrics_of(answer).get(WEIGHT, float("nan"))
    except (ValueError, KeyError, TypeError, MemoryError) as error:  # an array may say to be larger than memory
        return reply, f"sent what is no model ({_brief(error)})"
    if len(answer.content.array_records) != 1 or len(answer.content.metric_records) != 1:
        return answer, f"sent other records than {ARRAYS} and {METRICS}"
    return answer, _fault(given, weight, sent)


def _fault(given: Arrays, weight: float, sent: Arrays) -> str:
    if list(given) != list(sent):
        return f"sent arrays {_few(given)} in place of {_few(sent)}"
    for name, values in given.items():
        if values.shape != sent[name].shape or values.dtype != sent[name].dtype:
            want = sent[name]
            return f"sent {name} as {values.dtype} {values.shape} in place of {want.dtype} {want.shape}"
        if not np.isfinite(values).all():
            return f"sent NaN or infinity in {name}"
    if not 0 < weight <= _HEAVIEST:
        return f"sent the weight {weight:g}"
    return ""


def _few(names: Iterable[str]) -> str:
    listed: Sequence[str] = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _brief(said: object) -> str:
    lines = str(said).strip().splitlines() or ["no reason given"]
    return lines[-1][:200]
