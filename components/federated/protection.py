"""What stands around the training of a federation, on both sides of the wire: privacy, secure aggregation, smaller updates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message.message import make_message
from flwr.clientapp.typing import Mod
from flwr.serverapp import Grid

from components.federated import answers, leaving, masks, privacy, secure, selection, strategies, stream, updates
from components.federated.channel import Channel, straight
from components.federated.configuration import Federation
from components.federated.learner import Arrays
from components.federated.leaving import CHANGE, PRIVACY, SENDING
from components.federated.privacy import Mechanism
from components.federated.records import ABOUT, ARRAYS, CONFIG, METRICS, WEIGHT, arrays_of, metrics_of, packed, unpacked
from components.federated.secure import Sum
from components.federated.updates import Coding
from components.federated.wire import Listing
from fleetml.errors import InvalidData, Unavailable

log = logging.getLogger(__name__)
_FAILED = 0  # Flower's code of an error whose kind is not known


MODS: Sequence[Mod] = (masks.masking, leaving.coded, leaving.private)
"""What every region's app has around its training, the outermost first; each looks in the message whether it is wanted."""


class Protection:
    """The server's side of a federation: its `strategy`, the seams of its rounds (`channel`), what passed (`listing`), a `warning`.

    seeded: of a simulation, whose noise comes from the seed too; otherwise it is noise that nobody knows. Raises InvalidParameter.
    """

    def __init__(self, federation: Federation, seeded: bool = False) -> None:
        self._federation, self.seeded = federation, seeded
        self._examples: dict[int, float] = {}
        self._known, self._spent, self._begun = set[str](), set[str](), 0
        self.strategy = strategies.of(federation)
        self.coding = Coding(federation.update_bits, federation.update_share)
        self.mechanism = mechanism_of(federation)
        self.listing = Listing()
        self.warning = ""

    @property
    def channel(self) -> Channel:
        return Channel(
            able=self._able, admit=self._admit, exchange=self._exchange, opened=self._opened, observe=self._observe
        )

    def figures(self, ledger: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the run's metrics, its report and the registry say of privacy, given what it spent; {} without."""
        if self.mechanism is None:
            return {}
        told = privacy.figures(privacy.Ledger.of(ledger), self.mechanism)
        return {**told, "noise": "seeded" if self.seeded else "unknown"}

    def _observe(self, message: Message) -> None:
        """List a message; learn how many examples a node has from its answer to the roster's question."""
        self.listing.add(message)
        if not message.has_error() and ABOUT in message.content.config_records:
            self._examples[message.metadata.src_node_id] = metrics_of(message).get("examples", 1.0)

    def _able(self, names: Sequence[str], ledger: Mapping[str, Any]) -> Sequence[str]:
        """Return the regions that have budget for a round; those there say how many turns each has. Raises BudgetSpent."""
        if self.mechanism is None:
            return names
        spent = privacy.Ledger.of(ledger)
        mechanism = self.mechanism = self._planned(self.mechanism, names, spent)
        able = [name for name in names if spent.may(name, mechanism)]
        if len(able) < self._federation.min_clients:
            spent.charged(names, mechanism)
        for name in sorted(set(names) - set(able) - self._spent):
            self._spent.add(name)
            log.info("privacy: region %s has spent its epsilon and takes part in no more rounds", name)
        return able

    def _planned(self, before: Mechanism, names: Sequence[str], spent: privacy.Ledger) -> Mechanism:
        """Return the noise of the turns that each of these regions has: as the rounds begin, and less when others come and turns are fewer."""
        new, self._known = set(names) - self._known, self._known | set(names)
        if len(new) == len(self._known):
            return mechanism_of(self._federation, len(names)) or before
        left = self._federation.rounds - self._begun
        return (
            privacy.for_rest(before, spent, _turns(self._federation, len(names), left)) if new and left > 0 else before
        )

    def _admit(self, names: Sequence[str], ledger: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the ledger with a round of these regions. Raises BudgetSpent, and InvalidData for a ledger that cannot be read."""
        self._begun += 1
        if self.mechanism is None:
            return ledger
        return privacy.Ledger.of(ledger).charged(names, self.mechanism).as_record()

    def _exchange(self, grid: Grid, messages: Sequence[Message], seconds: float) -> list[Message]:
        self._warn(messages)
        for message in messages:
            self._say_how(message)
        central = self.mechanism if self.mechanism and self.mechanism.kind == "central" else None
        if self._federation.secure:
            total = _summed(grid, messages, seconds, self._largest(messages), central.clip if central else secure.SPAN)
            replies = [
                Message(Error(_FAILED, why), reply_to=_to(node, messages)) for node, why in total.reasons.items()
            ]
        else:
            replies = list(straight(grid, messages, seconds))
            if central is None:
                return replies
            total, replies = self._collected(replies, messages, central)
        made = self._made(total, messages, central)
        return [*(Message(made, reply_to=_to(node, messages)) for node in total.nodes), *replies]

    def _warn(self, messages: Sequence[Message]) -> None:
        """Tell the user once where the noise drowns what is learnt."""
        if self.mechanism and not self.warning:
            weights = sum(values.size for values in arrays_of(messages[0]).values())
            self.warning = privacy.warning(self.mechanism, len(messages), weights)
            if self.warning:
                log.warning("%s", self.warning)

    def _collected(
        self, replies: Sequence[Message], asked: Sequence[Message], central: Mechanism
    ) -> tuple[Sum, list[Message]]:
        """Return the sum of the clipped changes, and the replies that are none."""
        sent = arrays_of(asked[0])
        named = {it.metadata.dst_node_id: str(it.metadata.dst_node_id) for it in asked}
        kept = answers.checked(replies, named, sent, self.channel).kept
        change: updates.Difference = {name: np.zeros(values.shape) for name, values in sent.items()}
        for answer in kept.values():
            for name, part in privacy.clipped(updates.difference(arrays_of(answer), sent), central.clip).items():
                change[name] = change[name] + part
        rows = [metrics_of(answer) for answer in kept.values()]
        judged = [row["error"] for row in rows if np.isfinite(row.get("error", np.nan))]
        measured = {
            "weight": float(len(rows)),
            "judged": float(len(judged)),
            "error": sum(judged),
            "loss": sum(row.get("loss", 0.0) for row in rows),
        }
        nodes = [int(node) for node in kept]
        return Sum(change, measured, nodes, {}), [it for it in replies if it.metadata.src_node_id not in set(nodes)]

    def _made(self, total: Sum, asked: Sequence[Message], central: Mechanism | None) -> RecordDict:
        """Return the model changed by the mean, or by the noised sum over the number of regions that were asked.

        Not of those that answered: a region may drop out for what its data are.
        """
        sent, change, weight = arrays_of(asked[0]), total.change, total.weight
        if central:
            number = asked[0].content.config_records[CONFIG]["server-round"]
            key = stream.derived(self._federation.seed, "central noise", number) if self.seeded else stream.fresh()
            change, weight = privacy.noised(change, central.deviation, key), float(len(asked))
        mean = {name: part / weight for name, part in change.items()}
        figures = {WEIGHT: 1.0, "error": total.mean("error"), "loss": total.mean("loss")}
        return RecordDict({ARRAYS: packed(updates.added(sent, mean)), METRICS: MetricRecord(dict(figures))})

    def _largest(self, messages: Sequence[Message]) -> float:
        if self._federation.weights != "examples":
            return 1.0
        return max(self._examples.get(it.metadata.dst_node_id, 1.0) for it in messages)

    def _say_how(self, message: Message) -> None:
        if self.mechanism:
            it = self.mechanism
            message.content[PRIVACY] = ConfigRecord(
                {
                    "kind": it.kind,
                    "epsilon": float(it.epsilon),
                    "delta": it.delta,
                    "clip": float(it.clip),
                    "multiplier": it.multiplier,
                }
            )
        if not self.coding.plain:
            message.content[SENDING] = ConfigRecord({"bits": self.coding.bits, "share": self.coding.share})

    def _opened(self, answer: Message, sent: Arrays) -> Message:
        """Return an answer as a whole model. Raises ValueError."""
        if CHANGE not in answer.content.array_records:
            return answer
        try:
            change = updates.decode(unpacked(answer.content.array_records[CHANGE]), self.coding, sent)
        except InvalidData as error:
            raise ValueError(str(error)) from error
        records = {name: it for name, it in answer.content.items() if name != CHANGE}
        return make_message(answer.metadata, RecordDict({ARRAYS: packed(updates.added(sent, change)), **records}))


def mechanism_of(federation: Federation, regions: int = 1) -> Mechanism | None:
    """Return the noise of a federation of as many regions, of 1: enough for any number; None without privacy. Raises InvalidParameter."""
    if not federation.privacy:
        return None
    return privacy.mechanism(
        federation.privacy,
        federation.epsilon,
        federation.delta,
        federation.clip,
        _turns(federation, regions, federation.rounds),
    )


def _turns(federation: Federation, regions: int, rounds: int) -> int:
    """Return in how many of these rounds a region takes part at most: all, or its turns."""
    return -(-rounds * selection.count(regions, federation) // regions)


def _summed(grid: Grid, messages: Sequence[Message], seconds: float, largest: float, span: float) -> Sum:
    """Return a round's secure sum, made once more from its keys where the link lost the run over it: regions remember nothing of it then."""
    run = grid.run.run_id
    try:
        return secure.summed(grid, messages, seconds, largest, span)
    except Unavailable as error:
        if grid.run.run_id == run:
            raise
        log.warning("the link was started again in the round, which is made once more: %s", error)
        return secure.summed(grid, messages, seconds, largest, span)


def _to(node: int, messages: Sequence[Message]) -> Message:
    return next(it for it in messages if it.metadata.dst_node_id == node)
