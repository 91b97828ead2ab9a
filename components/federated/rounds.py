"""The loop of rounds: choose, send, wait, average, check, keep, stop. Flower's own can neither stop early nor go on where it died."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from components.federated import selection, strategies
from components.federated.answers import Answers, checked
from components.federated.channel import BudgetSpent, Channel, Ledger
from components.federated.checkpoint import Checkpoint, Round, State
from components.federated.configuration import Federation
from components.federated.learner import Arrays
from components.federated.records import ARRAYS, CONFIG, METRICS, WEIGHT, metrics_of, packed, unpacked
from components.federated.roster import Roster
from components.federated.wire import Watched
from fleetml.errors import Unavailable

log = logging.getLogger(__name__)
Errors = Mapping[str, Mapping[str, float]]
"""By region: its number of examples (`weight`) and its error by each model."""


@dataclass(frozen=True)
class Result:
    """The model after the last round, what is told of each round, why they ended ("rounds", "converged", "budget"), the regions'
    errors, what was spent of a budget.
    """

    arrays: Arrays
    history: tuple[Round, ...]
    ended: str
    errors: Errors
    ledger: Ledger


def train(
    grid: Grid,
    strategy: Strategy,
    federation: Federation,
    initial: Arrays,
    checkpoint: Checkpoint | None = None,
    channel: Channel | None = None,
) -> Result:
    """Return the model that the regions of a grid train together, from `initial` or after the checkpoint's last round.

    Raises Unavailable when fewer than `min_clients` are there in time or answer; the last whole round is kept.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)  # what it tells of each round, we do
    checkpoint, channel = checkpoint or Checkpoint(), channel or Channel()
    state = checkpoint.read() or State(0, initial)
    strategies.remind(strategy, state.remembered)
    if state.number:
        log.info("going on after round %d of %d", state.number, federation.rounds)
    grid = Watched(grid, channel.observe)
    roster = Roster(grid, federation, state.clients)
    while not (ended := _ended(state.history, federation)):
        roster.call()
        try:
            able = channel.able(sorted(roster.present), state.ledger)
            names = selection.chosen(roster.present, federation, state.number + 1, able)
            ledger = channel.admit(names, state.ledger)
        except BudgetSpent as spent:
            if not state.number:
                raise
            log.warning("%s", spent)
            ended = "budget"
            break
        if ledger != state.ledger:  # a round that dies has spent it
            state = replace(state, ledger=ledger)
            checkpoint.write(state)
        state = _round(grid, strategy, federation, state, set(names), roster, channel)
        checkpoint.write(state)
        log.info("%s", _line(state.history[-1], federation))
    roster.call()
    errors = _judged(grid, federation, state.arrays, initial, roster)
    return Result(state.arrays, state.history, ended, errors, state.ledger)


def _ended(history: Sequence[Round], federation: Federation) -> str:
    """Return why no further round is needed, "" where one is."""
    best, since = float("inf"), 0
    for each in (it for it in history if np.isfinite(it.error)):
        better = each.error < best * (1 - federation.min_improvement)
        best, since = (each.error, 0) if better else (best, since + 1)
    if federation.patience and since >= federation.patience:
        return "converged"
    return "rounds" if len(history) >= federation.rounds else ""


def _round(
    grid: Watched,
    strategy: Strategy,
    federation: Federation,
    state: State,
    names: Collection[str],
    roster: Roster,
    channel: Channel,
) -> State:
    """Return the state after the next round, with these regions. Raises Unavailable for too few answers."""
    began, number = time.monotonic(), state.number + 1
    sent, received = grid.sent, grid.received
    asked = {node: name for node, name in roster.nodes.items() if name in names}
    messages = strategies.messages(strategy, number, state.arrays, _config(federation), asked)
    # The largest first, so that a few processes end at about the same time
    messages.sort(key=lambda it: (-roster.clients[asked[it.metadata.dst_node_id]].examples, it.metadata.dst_node_id))
    replies = list(channel.exchange(grid, messages, federation.round_seconds))
    answers = checked(replies, asked, state.arrays, channel)
    _require(answers, federation, number)
    if federation.weights == "equal":  # whatever they say that they weigh
        for answer in answers.kept.values():
            answer.content.metric_records[METRICS][WEIGHT] = 1.0
    arrays = _aggregated(strategy, number, answers, state.arrays)
    measured = {name: metrics_of(answer) for name, answer in answers.kept.items()}
    # Who does not answer is neither quick nor waiting for its turn: it would be asked in every round
    late = dict.fromkeys(answers.left_out, federation.round_seconds)
    roster.took_part(number, late | {name: each.get("seconds", 0.0) for name, each in measured.items()})
    told = Round(
        number=number,
        answered=list(answers.kept),
        left_out=dict(answers.left_out),
        error=_mean(measured, "error"),
        loss=_mean(measured, "loss"),
        sent_bytes=grid.sent - sent,
        received_bytes=grid.received - received,
        seconds=time.monotonic() - began,
    )
    return State(
        number, arrays, strategies.remembered(strategy), dict(roster.clients), (*state.history, told), state.ledger
    )


def _config(federation: Federation) -> dict[str, int | str]:
    return {
        "epochs": federation.local_epochs,
        "rounds": federation.rounds,
        "seed": federation.seed,
        "weights": federation.weights,
    }


def _require(answers: Answers, federation: Federation, number: int) -> None:
    if len(answers.kept) < federation.min_clients:
        said = "; ".join(f"{name} {why}" for name, why in answers.left_out.items())
        raise Unavailable(
            f"at least {federation.min_clients} regions must answer in a round, got {len(answers.kept)} in round {number} ({said}); "
            f"round {number - 1} is kept: see to these regions and run again, or lower min_clients"
        )


def _aggregated(strategy: Strategy, number: int, answers: Answers, before: Arrays) -> Arrays:
    """Return the next model, of the types of the one before. Raises Unavailable where the answers give none."""
    record, _ = strategy.aggregate_train(number, list(answers.kept.values()))
    made = {name: values.astype(before[name].dtype) for name, values in unpacked(record).items()} if record else {}
    if not made or not all(np.isfinite(values).all() for values in made.values()):
        raise Unavailable(
            f"the answers of a round must give a model of finite values, those of round {number} do not; round {number - 1} is "
            "kept: lower server_learning_rate or the noise and run again"
        )
    return {name: made[name] for name in before}


def _judged(grid: Grid, federation: Federation, arrays: Arrays, initial: Arrays, roster: Roster) -> Errors:
    """Return each present region's errors: by the `common` model, by that fitted to the region (`personal`), and by its `own`.

    Its own is trained by the region alone, from the beginning and with as many passes as it took part in at most.
    """
    asked = {
        **_config(federation),
        "server-round": federation.rounds + 1,
        "personal-epochs": federation.personal_epochs,
    }
    found = {name: dict(each) for name, each in _asked(grid, federation, arrays, asked, roster).items()}
    if federation.compare_own:
        alone = {
            **asked,
            "server-round": 1,
            "rounds": 1,
            "personal-epochs": federation.rounds * federation.local_epochs,
        }
        for name, each in _asked(grid, federation, initial, alone, roster).items():
            found.setdefault(name, {})["own"] = each.get("personal", np.nan)
    return dict(sorted(found.items()))


def _asked(
    grid: Grid,
    federation: Federation,
    arrays: Arrays,
    config: Mapping[str, int | str],
    roster: Roster,
) -> Errors:
    content = RecordDict({ARRAYS: packed(arrays), CONFIG: ConfigRecord(dict(config))})
    messages = [Message(content, node, MessageType.EVALUATE) for node in sorted(roster.nodes)]
    replies = list(grid.send_and_receive(messages, timeout=federation.round_seconds))
    found = {roster.nodes[it.metadata.src_node_id]: metrics_of(it) for it in replies if not it.has_error()}
    for name in sorted(set(roster.nodes.values()) - set(found)):
        log.warning("%s did not judge the model", name)
    return found


def _mean(measured: Errors, what: str) -> float:
    """Return the mean over the regions that measured it, by weight; NaN where none did."""
    rows = [(each[WEIGHT], each[what]) for each in measured.values() if np.isfinite(each.get(what, np.nan))]
    return float(np.average([value for _, value in rows], weights=[weight for weight, _ in rows])) if rows else np.nan


def _line(told: Round, federation: Federation) -> str:
    said = "; ".join(f"{name} {why}" for name, why in told.left_out.items())
    return (
        f"round {told.number} of {federation.rounds}: error {told.error:.4f} before it, loss {told.loss:.4f}, "
        f"{len(told.answered)} of {len(told.answered) + len(told.left_out)} regions in {told.seconds:.1f} s, "
        + (f"left out: {said}; " if said else "")
        + f"{told.sent_bytes:,} bytes sent, {told.received_bytes:,} received"
    )
