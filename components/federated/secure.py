"""Secure aggregation in the server: SecAgg+ as four exchanges of messages over any grid; it learns the sum and nothing else.

keys: each region draws two pairs. shares: each shares its secrets among its neighbours. vector: each trains and sends its update under
masks that cancel in the sum. unmask: neighbours of those in the sum and of those who dropped out give what takes the rest off.

Flower's own workflow stands on its legacy strategies; its sums are right, but it cannot end a round in which a region drops out before
`vector`, it shows the server the number of examples of each region, and its masks come from 32 bits (components.federated.masks).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from components.federated import masks
from components.federated.learner import Arrays
from components.federated.masks import KEYS, MASKED, MEASURED, SECURE, SHARES, UNMASK, VECTOR, Grain, Words
from components.federated.records import CONFIG, arrays_of
from components.federated.updates import Difference
from fleetml.errors import Unavailable

log = logging.getLogger(__name__)
FEWEST = 3
"""Regions in a sum at least: of a sum of two each knows the other's part."""
PUBLIC = ("mask-public", "send-public")
_NEIGHBOURS = 20
SPAN = 16.0
_NONE = 1e-4  # a sum of weights below is the rounding of none


@dataclass
class Exchange:
    """One round of the protocol.

    `present`: nodes that have answered every stage so far; `reasons`: why the others are not among them.
    """

    grid: Grid
    messages: Mapping[int, Message]
    seconds: float
    neighbours: Mapping[int, list[int]]
    threshold: int
    number: int
    present: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def stage(
        self, name: str, asked: Callable[[int], dict[str, Any]], fits: Callable[[int, Any], bool]
    ) -> dict[int, Any]:
        """Ask those present; return by node what they said. Raises Unavailable where too few are left to unmask a sum."""
        sent = [
            self._message(node, {"stage": name, "round": self.number, "node": node, **asked(node)})
            for node in self.present
        ]
        answers: dict[int, Any] = {}
        reasons = dict.fromkeys(self.present, "late")
        for reply in self.grid.send_and_receive(sent, timeout=self.seconds):
            node = reply.metadata.src_node_id
            if node not in reasons:
                continue
            if reply.has_error():
                reasons[node] = f"failed: {(reply.error.reason or 'no reason given').strip().splitlines()[-1][:200]}"
            elif (said := _said(reply, name, node, fits)) is None:
                reasons[node] = "sent what was not asked for"
            else:
                answers[node] = said
                del reasons[node]
        self.leave_out({node: f"{why} (stage {name} of secure aggregation)" for node, why in reasons.items()})
        return answers

    def leave_out(self, reasons: Mapping[int, str]) -> None:
        """Go on without some nodes. Raises Unavailable."""
        self.reasons |= reasons
        self.present = [node for node in self.present if node not in self.reasons]
        fewest = min((len(self.near(node)) for node in self.present), default=0)
        if fewest < self.threshold or len(self.present) < FEWEST:
            raise Unavailable(
                f"secure aggregation needs {max(self.threshold, FEWEST)} of {len(self.messages)} regions to take part in a sum, "
                f"{len(self.present)} are left in round {self.number}; nothing of this round was unmasked. Bring the regions back and "
                f"run again, it goes on after the last whole round. {'; '.join(f'node {n}: {why}' for n, why in self.reasons.items())}"
            )

    def near(self, node: int) -> list[int]:
        """Return a node's neighbours that are present, itself among them."""
        return [other for other in self.neighbours[node] if other in set(self.present)]

    def _message(self, node: int, asked: dict[str, Any]) -> Message:
        train = asked["stage"] == VECTOR
        content = RecordDict(dict(self.messages[node].content)) if train else RecordDict()
        content[SECURE] = ConfigRecord(asked)
        return Message(content, node, MessageType.TRAIN, group_id=str(self.number))


@dataclass(frozen=True)
class Sum:
    """What the server learns of a round: sums over the regions `nodes`, each x its weight, and why the others are not in them."""

    change: Difference
    measured: Mapping[str, float]
    nodes: list[int]
    reasons: Mapping[int, str]

    @property
    def weight(self) -> float:
        """Sum of the weights, in units of the largest."""
        return self.measured["weight"]

    def mean(self, what: str) -> float:
        """Return the mean of `error` or `loss` over the regions that measured it; NaN where none did."""
        over = self.measured["judged" if what == "error" else "weight"]
        return self.measured[what] / over if over > _NONE else float("nan")


def summed(grid: Grid, messages: Sequence[Message], seconds: float, largest: float = 1.0, span: float = SPAN) -> Sum:
    """Return the sum of what the regions answer to `messages`, which ask them to train.

    seconds: for each of the four stages: who does not answer in one takes no time from the next. largest: weight of the region that
    weighs most. span: largest change of a weight x its region's share of `largest`. Raises Unavailable where too few regions are left;
    then nothing was unmasked.
    """
    by_node = {message.metadata.dst_node_id: message for message in messages}
    number = int(messages[0].content.config_records[CONFIG]["server-round"])  # type: ignore[arg-type]
    neighbours = ring(sorted(by_node))
    threshold = -(-2 * max(map(len, neighbours.values())) // 3)
    round_ = Exchange(grid, by_node, seconds, neighbours, threshold, number, sorted(by_node))
    round_.leave_out({})
    public = round_.stage(KEYS, lambda node: {}, lambda node, said: _are_keys(said))
    shares = _shared(round_, public)
    took_part = list(round_.present)
    grain = {"parts": len(took_part), "span": span, "largest": largest}
    like = arrays_of(messages[0])
    wanted = len(MEASURED) + sum(values.size for values in like.values())
    vectors = round_.stage(
        VECTOR,
        lambda node: {**grain, **_forwarded(round_, shares, node)},
        lambda node, words: words.dtype == np.uint32 and words.shape == (wanted,),
    )
    total = np.zeros(wanted, np.uint32)
    for words in vectors.values():
        total = total + words
    total = _unmasked(round_, total, list(vectors), took_part, public, shares)
    reasons = {node: why for node, why in round_.reasons.items() if node not in vectors}
    return _read(total, like, list(vectors), reasons, Grain(span, len(took_part)))


def ring(nodes: Sequence[int], count: int = _NEIGHBOURS) -> dict[int, list[int]]:
    """Return the regions with which each shares secrets, itself among them: all, or `count` of a ring drawn by chance (Bell et al.)."""
    if len(nodes) <= count + 1:
        return {node: list(nodes) for node in nodes}
    drawn, half = random.SystemRandom().sample(list(nodes), len(nodes)), count // 2
    return {
        node: sorted(drawn[(place + step) % len(drawn)] for step in range(-half, half + 1))
        for place, node in enumerate(drawn)
    }


def _shared(round_: Exchange, public: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    def asked(node: int) -> dict[str, Any]:
        near = round_.near(node)
        keys = {name: [public[other][name] for other in near] for name in PUBLIC}
        return {"nodes": near, "threshold": round_.threshold, **keys}

    near = {node: [other for other in round_.near(node) if other != node] for node in round_.present}
    return round_.stage(
        SHARES,
        asked,
        lambda node, said: (
            said["to"] == near[node]
            and len(said["sealed"]) == len(said["to"])
            and _all_bytes(said, "commitment")
            and all(isinstance(each, bytes) for each in said["sealed"])
        ),
    )


def _forwarded(round_: Exchange, shares: Mapping[int, Mapping[str, Any]], node: int) -> dict[str, Any]:
    sources = [other for other in round_.near(node) if other != node]
    sealed = [shares[other]["sealed"][shares[other]["to"].index(node)] for other in sources]
    return {"from": sources, "sealed": sealed}


def _unmasked(
    round_: Exchange,
    total: Words,
    summed: Sequence[int],
    took_part: Sequence[int],
    public: Mapping[int, Mapping[str, Any]],
    shares: Mapping[int, Mapping[str, Any]],
) -> Words:
    """Take off the own masks of those in the sum, and the masks that those who dropped out would have cancelled."""
    dropped = [node for node in took_part if node not in summed]

    def asked(node: int) -> dict[str, Any]:
        near = round_.neighbours[node]
        lists = {"summed": [n for n in summed if n in near], "dropped": [n for n in dropped if n in near]}
        return {name: nodes for name, nodes in lists.items() if nodes}  # Flower cannot count the bytes of an empty list

    def fits(node: int, said: Mapping[str, Any]) -> bool:
        wanted = [node for nodes in asked(node).values() for node in nodes]
        sound = all(isinstance(share, bytes) for share in said["shares"])
        return said["of"] == wanted and len(said["shares"]) == len(wanted) and sound

    held: dict[int, list[bytes]] = {node: [] for node in took_part}
    for said in round_.stage(UNMASK, asked, fits).values():
        for node, share in zip(said["of"], said["shares"], strict=True):
            held[node].append(share)
    for node in summed:
        seed = _secret(round_, node, held[node])
        if masks.commitment(seed) != shares[node]["commitment"]:
            raise _lied(round_, node)
        total = masks.added(total, masks.seed_key(seed), -1)
    for node in dropped:
        private = _secret(round_, node, held[node])
        if masks.public_of(private) != public[node]["mask-public"]:
            raise _lied(round_, node)
        for other in (n for n in round_.neighbours[node] if n in summed):
            key = masks.pair_key(private, public[other]["mask-public"], b"mask")
            total = masks.added(total, key, -masks.sign(other, node))
    return total


def _secret(round_: Exchange, node: int, shares: list[bytes]) -> bytes:
    if len(shares) < round_.threshold:
        raise Unavailable(
            f"secure aggregation needs {round_.threshold} shares of the secret of node {node} in round {round_.number}, got "
            f"{len(shares)}; nothing was unmasked: bring the regions back and run again"
        )
    try:
        return masks.combine(shares[: round_.threshold])
    except (ValueError, IndexError):
        return b""


def _lied(round_: Exchange, node: int) -> Unavailable:
    return Unavailable(
        f"the shares of the secret of node {node} in round {round_.number} do not fit what it bound itself to: a region sent a wrong "
        "share, and the sum cannot be unmasked; find that region, and run again without it"
    )


def _said(reply: Message, stage: str, node: int, fits: Callable[[int, Any], bool]) -> Any:
    """Return what a region said in a stage, the words of its vector; None where it is not of the form asked for."""
    try:
        records = reply.content
        said: Any = (
            records.array_records[MASKED][MASKED].numpy() if stage == VECTOR else dict(records.config_records[SECURE])
        )
        return said if fits(node, said) else None
    except (KeyError, TypeError, ValueError, MemoryError):
        return None


def _are_keys(said: Mapping[str, Any]) -> bool:
    """Whether a region's public keys are two that others can use: whatever is none would end the round for all its neighbours."""
    given = {said[name] for name in PUBLIC}
    return _all_bytes(said, *PUBLIC) and len(given) == len(PUBLIC) and all(map(masks.is_public, given))


def _all_bytes(said: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(said[name], bytes) for name in names)


def _read(total: Words, like: Arrays, nodes: list[int], reasons: Mapping[int, str], grain: Grain) -> Sum:
    """Return what unmasked words say."""
    cut = len(MEASURED)
    measured = masks.measured_grain(grain.parts).values(total[:cut], len(nodes))
    measured[2:] *= masks.FIGURE
    values, change, place = grain.values(total[cut:], len(nodes)), {}, 0
    for name, each in like.items():
        change[name], place = values[place : place + each.size].reshape(each.shape), place + each.size
    return Sum(change, dict(zip(MEASURED, map(float, measured), strict=True)), nodes, reasons)
