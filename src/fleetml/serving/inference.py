"""A question's way: route, covariates, the graph, the log; a second version beside the served one never hurts a caller."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from fleetml.errors import InvalidParameter
from fleetml.serving.backends import Arrays
from fleetml.serving.kinds import Answer, Question
from fleetml.serving.model import Model
from fleetml.serving.models import Models
from fleetml.serving.online import Covariates
from fleetml.serving.predictions import PredictionLog, Row
from fleetml.serving.routing import CHALLENGER, CHAMPION, SHADOW, Served, chosen

SHADOWS = 64
"""Questions to shadow versions under way at most; beyond that they are not asked."""

log = logging.getLogger(__name__)
_A = TypeVar("_A", bound=Answer)
_NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class _Asked:
    """When a question came, by both clocks; `probe`: it is a deploy's own, and not logged."""

    time: datetime
    clock: float
    probe: bool


class Inference:
    """Answers questions from `models`; covariates come from the question or from `covariates`; graphs run in `executor`."""

    def __init__(self, models: Models, covariates: Covariates, predictions: PredictionLog, executor: Executor) -> None:
        self.models = models
        self._covariates = covariates
        self._predictions = predictions
        self._executor = executor
        self._shadows: set[asyncio.Task[None]] = set()

    async def ask(self, name: str, question: Question[_A], probe: bool = False) -> tuple[Model, _A]:
        """Return the version that answered, and its answer. A `probe` is for the served version, and not logged.

        Raises NotDeployed, InvalidParameter, and what the question's own methods raise.
        """
        asked = _Asked(datetime.now(UTC), perf_counter(), probe)
        served = self.models.get(name)
        _check_kind(served.champion, question)
        beside = not probe and chosen(served, question.key)
        failure: Row | None = None
        if beside and served.rollout and served.rollout.mode != "shadow":
            answered, failure = await self._challenge(served, question, asked)
            if answered:
                self._follow(
                    served, served.champion, question, asked
                )  # the same questions to both: what a rollout compares
                return answered
        model = served.champion
        inputs, answer = await self._answer(model, question)
        if failure:  # had the champion refused the question too, it would have been the caller's mistake
            self._predictions.add(model, failure)
        if not probe:
            self._predictions.add(model, _row(served, model, CHAMPION, question, asked, inputs, answer))
        if beside and served.rollout and served.rollout.mode == "shadow":
            self._follow(served, served.challenger, question, asked)
        return model, answer

    async def drain(self) -> None:
        """Wait for what still runs off the callers' path."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def _challenge(
        self, served: Served, question: Question[_A], asked: _Asked
    ) -> tuple[tuple[Model, _A] | None, Row | None]:
        """Ask the rollout's version; return its answer, or None and what is to be logged of its failure."""
        model = served.challenger
        if model is None:
            return None, _failed(served, CHALLENGER, question, asked, f"not loaded: {served.fault}")
        try:
            inputs, answer = await self._answer(model, question)
        except Exception as error:
            return None, _failed(served, CHALLENGER, question, asked, str(error))
        self._predictions.add(model, _row(served, model, CHALLENGER, question, asked, inputs, answer))
        return (model, answer), None

    def _follow(self, served: Served, model: Model | None, question: Question[Any], asked: _Asked) -> None:
        """Ask the version that does not answer, off the caller's path. None: the rollout's, which was not loaded."""
        if len(self._shadows) < SHADOWS:
            task = asyncio.create_task(self._shadow(served, model, question, asked.time))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _shadow(self, served: Served, model: Model | None, question: Question[Any], time: datetime) -> None:
        asked = _Asked(time, perf_counter(), False)
        try:
            if model is None:
                row = _failed(served, SHADOW, question, asked, f"not loaded: {served.fault}")
            else:
                inputs, answer = await self._answer(model, question)
                row = _row(served, model, SHADOW, question, asked, inputs, answer)
        except Exception as error:
            row = _failed(served, SHADOW, question, asked, str(error))
            row = replace(row, version=model.version if model else row.version)
        self._predictions.add(model if model and not row.failure else served.champion, row)

    async def _answer(self, model: Model, question: Question[_A]) -> tuple[Arrays, _A]:
        found: Mapping[str, float] = {}
        if wanted := question.wanted(model):
            found = await self._covariates.of(question.key, wanted)
        inputs = question.inputs(model, found)
        outputs = await asyncio.get_running_loop().run_in_executor(self._executor, model.session.run, inputs)
        return inputs, question.answer(model, outputs)


def _check_kind(model: Model, question: Question[Any]) -> None:
    if model.kind_name != question.kind:
        raise InvalidParameter(
            f"a question to a model of kind {question.kind} must name one, model {model.name} is of kind "
            f"{model.kind_name}; name another model"
        )


def _row(
    served: Served, model: Model, role: str, question: Question[Any], asked: _Asked, inputs: Arrays, answer: Answer
) -> Row:
    rollout = served.rollout.id if served.rollout else ""
    taken = (perf_counter() - asked.clock) * 1e3
    origin = question.as_of or asked.time
    made = (inputs, answer.predictions, answer.step_seconds)
    return Row(asked.time, origin, question.key, model.version, role, rollout, taken, *made)


def _failed(served: Served, role: str, question: Question[Any], asked: _Asked, failure: str) -> Row:
    """Say that the rollout's version did not answer."""
    rollout = served.rollout
    assert rollout is not None  # noqa: S101 - who calls this has a rollout
    taken = (perf_counter() - asked.clock) * 1e3
    origin = question.as_of or asked.time
    return Row(
        asked.time, origin, question.key, rollout.version, role, rollout.id, taken, None, _NONE, 0, failure or "failed"
    )
