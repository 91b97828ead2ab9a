"""What stands between the rounds and the regions: how messages go and come back, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from components.federated.learner import Arrays
from fleetml.errors import FleetMLError

Ledger = Mapping[str, Any]
"""What a run has spent of a budget, as JSON says it; {} is nothing."""


class BudgetSpent(FleetMLError):
    """The next round would spend more than the run may."""


def unlimited(names: Sequence[str], ledger: Ledger) -> Ledger:
    """Spend nothing."""
    return ledger


def all_of_them(names: Sequence[str], ledger: Ledger) -> Sequence[str]:
    """Return all regions: none has spent anything."""
    return names


def straight(grid: Grid, messages: Sequence[Message], seconds: float) -> Iterable[Message]:
    """Send the messages, return the replies of those who answer in time."""
    return grid.send_and_receive(messages, timeout=seconds)


def as_sent(answer: Message, sent: Arrays) -> Message:
    """Return an answer whose record `arrays` is a whole model already."""
    return answer


@dataclass(frozen=True)
class Channel:
    """The seams of a round, in the order in which they are used; as they stand, models go and come as they are.

    `able(names, ledger)`: of the regions that are there, those that can take part in one more round; raises BudgetSpent where they are too
    few.
    `admit(names, ledger)`: before a round with these regions; returns what is spent with it, JSON, which is written down before
    the first message goes, or raises BudgetSpent to end the run with what it has.
    `exchange(grid, messages, seconds)`: sends the messages of a round's training and returns a reply of each region that
    answered, where need be after several stages. Where the server sees no single answer (secure aggregation) each of them
    holds the same mean as its `arrays`, so that their mean is the mean.
    `opened(answer, sent)`: makes an answer a whole model again, given the arrays that were sent. Raises ValueError, KeyError or
    TypeError for what is none.
    `observe(message)`: is shown every message that goes or comes, of every stage, before it is opened.
    """

    able: Callable[[Sequence[str], Ledger], Sequence[str]] = all_of_them
    admit: Callable[[Sequence[str], Ledger], Ledger] = unlimited
    exchange: Callable[[Grid, Sequence[Message], float], Iterable[Message]] = straight
    opened: Callable[[Message, Arrays], Message] = as_sent
    observe: Callable[[Message], None] = lambda message: None
