"""A question's way: route, covariates, cache, batch, graph, log; a second version beside the served one hurts no caller."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import Any, TypeVar

import numpy as np

from fleetml.errors import InvalidParameter
from fleetml.serving import metrics, tensors
from fleetml.serving.backends import Arrays
from fleetml.serving.batch import Placed, in_order
from fleetml.serving.batching import Batcher
from fleetml.serving.caching import Cache
from fleetml.serving.errors import Expired, Overloaded, UnknownModel
from fleetml.serving.kinds import Answer, Question
from fleetml.serving.model import Model
from fleetml.serving.models import Models
from fleetml.serving.online import Covariates
from fleetml.serving.predictions import PredictionLog, Row
from fleetml.serving.routing import CHALLENGER, CHAMPION, SHADOW, Served, chosen

SHADOWS = 64
"""Questions to shadow versions under way at most; beyond that they are not asked."""

_A = TypeVar("_A", bound=Answer)
_T = TypeVar("_T")
_NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class Asked:
    """When a question came, by the calendar and by `perf_counter`, whom it is about, and until when it is of use.

    `rollout` is the id of the one under way, or "". `logged`: it is neither a deploy's own nor outside the sample.
    """

    time: datetime
    clock: float
    key: str
    origin: datetime
    rollout: str
    expires: float
    logged: bool


class Inference:
    """Answers questions from `models`; covariates come from the question or from `covariates`; `log_share` are logged."""

    def __init__(
        self,
        models: Models,
        covariates: Covariates,
        predictions: PredictionLog,
        batcher: Batcher,
        cache: Cache,
        log_share: float = 1.0,
    ) -> None:
        self.models = models
        self._covariates = covariates
        self._predictions = predictions
        self._batcher = batcher
        self._cache = cache
        self._log_share = log_share
        self._shadows: set[asyncio.Task[None]] = set()

    async def ask(
        self, name: str, question: Question[_A], probe: bool = False, expires: float = float("inf")
    ) -> tuple[Model, _A]:
        """Return the version that answered, and its answer. A `probe` is for the served version, and not logged.

        `expires` by the monotonic clock. Raises NotDeployed, InvalidParameter, Overloaded, Expired, and what the question's
        own methods raise.
        """
        now = datetime.now(UTC)
        logged = not probe and self._sampled()
        served = self.models.get(name)
        _check_kind(served.champion, question)
        asked = Asked(now, perf_counter(), question.key, question.as_of or now, _rollout(served), expires, logged)

        async def answer(model: Model, role: str) -> _A:
            return await self._answer(model, question, asked, role)

        return await self._route(served, asked, answer, probe)

    async def ask_many(
        self, name: str, questions: Sequence[Question[_A]], probe: bool = False, expires: float = float("inf")
    ) -> list[tuple[Model, _A]]:
        """Return what `ask` returns of each; all that the served version answers go through its graph in one call.

        Raises what `ask` raises, with the place of the question in `questions`.
        """
        served = self.models.get(name)
        apart = {
            place: self.ask(name, question, probe, expires)
            for place, question in enumerate(questions)
            if not served.champion.batchable or (not probe and chosen(served, question.key))
        }
        together = [(place, question) for place, question in enumerate(questions) if place not in apart]
        answers = dict(zip(apart, await in_order(list(apart.values()), list(apart)), strict=True))
        answers |= await self._together(served, together, probe, expires)
        return [answers[place] for place in range(len(questions))]

    async def _together(
        self, served: Served, questions: Sequence[tuple[int, Question[_A]]], probe: bool, expires: float
    ) -> dict[int, tuple[Model, _A]]:
        """Answer questions, each with its place, by the served version in one run of its graph."""
        model, began, now = served.champion, perf_counter(), datetime.now(UTC)
        if not questions:
            return {}
        inputs = []
        with Placed() as at:
            for at.place, question in questions:
                _check_kind(model, question)
                inputs.append(await self._inputs(model, question, question.as_of or now))
        joined = {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
        outputs = await self._run(model, joined, expires)
        answers: dict[int, tuple[Model, _A]] = {}
        row, rollout = 0, _rollout(served)
        with Placed() as at:
            for (at.place, question), each in zip(questions, inputs, strict=True):
                rows = slice(row, row := row + len(next(iter(each.values()))))
                answer = question.answer(model, {name: array[rows] for name, array in outputs.items()})
                answers[at.place] = model, answer
                logged = not probe and self._sampled()
                asked = Asked(now, began, question.key, question.as_of or now, rollout, expires, logged)
                self._note(model, asked, CHAMPION, began, each, answer)
        return answers

    async def infer(
        self, name: str, version: str, key: str, inputs: Arrays, expires: float = float("inf"), vm: str = ""
    ) -> tuple[Model, Arrays]:
        """Run raw tensors through a model of any kind: through `version`, or "" as rollouts route `key`.

        Logged where they are about one `vm`, name no version, and the model's kind knows what they mean (`Kind.told`).
        Raises UnknownModel, InvalidParameter for arrays that do not fit, Overloaded, Expired.
        """
        began = perf_counter()
        served = self.models.get(name)
        asked: Asked | None = None
        if vm or (served.rollout and key):
            now = datetime.now(UTC)
            logged = bool(vm) and not version and self._sampled()
            asked = Asked(now, began, key, now, _rollout(served), expires, logged)

        async def answer(model: Model, role: str) -> Arrays:
            start = perf_counter() if role == SHADOW else began
            tensors.check(model, inputs)
            made = await self._run(model, inputs, expires)
            if asked and asked.logged and (said := model.kind.told(model.about, made)):
                self._note(model, asked, role, start, inputs, said)
            else:
                metrics.latency(name, model.version, role).observe(perf_counter() - start)
            return made

        if version:
            model = self.models.version(name, version)
            return model, await answer(model, CHAMPION if model is served.champion else CHALLENGER)
        if served.rollout is None or asked is None:
            return served.champion, await answer(served.champion, CHAMPION)
        return await self._route(served, asked, answer, probe=False)

    async def drain(self) -> None:
        """Wait for what still runs off the callers' path."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def _route(
        self, served: Served, asked: Asked, answer: Callable[[Model, str], Awaitable[_T]], probe: bool
    ) -> tuple[Model, _T]:
        """Let the chosen version answer. Had the champion refused what the challenger failed at, it is the caller's mistake.

        The version that does not answer is asked the same, off the path: a rollout compares pairs.
        """
        champion, rollout = served.champion, served.rollout
        if rollout is None or probe or not chosen(served, asked.key):
            return champion, await answer(champion, CHAMPION)
        if rollout.mode == "shadow":
            answered = await answer(champion, CHAMPION)
            self._follow(served, served.challenger, asked, answer)
            return champion, answered
        try:
            challenger = _loaded(served, served.challenger)
            answered = await answer(challenger, CHALLENGER)
        except Expired:
            raise
        except Exception as error:  # also one that is overloaded: where the champion is, too, the caller is told
            answered = await answer(champion, CHAMPION)
            self._fail(served, rollout.version, asked, CHALLENGER, error)
            return champion, answered
        self._follow(served, champion, asked, answer)
        return challenger, answered

    def _follow(
        self, served: Served, model: Model | None, asked: Asked, answer: Callable[[Model, str], Awaitable[Any]]
    ) -> None:
        """Ask the other version. None: that of the rollout, which was not loaded."""
        version = model.version if model else served.rollout.version if served.rollout else ""

        async def shadow() -> None:
            try:
                await answer(_loaded(served, model), SHADOW)
            except (Overloaded, Expired):  # then those who wait need the machine
                return
            except Exception as error:
                self._fail(served, version, asked, SHADOW, error)

        if asked.logged and len(self._shadows) < SHADOWS:
            task = asyncio.create_task(shadow())
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    def _fail(self, served: Served, version: str, asked: Asked, role: str, error: Exception) -> None:
        """Tell that a version beside the one that answered did not answer; the log has the same sample of these as of answers,
        for a rollout is judged by the rate.
        """
        metrics.FAILURES.labels(served.champion.name, version).inc()
        if not asked.logged:
            return
        taken = (perf_counter() - asked.clock) * 1e3
        row = Row(
            *(asked.time, asked.origin, asked.key, version, role, asked.rollout),
            *(taken, None, _NONE, 0, str(error) or repr(error)),
        )
        self._predictions.add(served.champion, row)

    async def _answer(self, model: Model, question: Question[_A], asked: Asked, role: str) -> _A:
        began = perf_counter() if role == SHADOW else asked.clock
        inputs = await self._inputs(model, question, asked.origin)
        answer = question.answer(model, await self._run(model, inputs, asked.expires))
        self._note(model, asked, role, began, inputs, answer)
        return answer

    async def _inputs(self, model: Model, question: Question[Any], at: datetime) -> Arrays:
        found: Mapping[str, float] = {}
        if wanted := question.wanted(model):
            found = await self._covariates.of(question.key, wanted, at)
        return question.inputs(model, found)

    def _sampled(self) -> bool:
        return self._log_share >= 1 or random.random() < self._log_share  # noqa: S311 - a sample

    def _note(self, model: Model, asked: Asked, role: str, began: float, inputs: Arrays, answer: Answer) -> None:
        """Tell Prometheus and the prediction log of an answer."""
        taken = perf_counter() - began
        metrics.latency(model.name, model.version, role).observe(taken)
        if asked.logged:
            made = (taken * 1e3, inputs, answer.predictions, answer.step_seconds)
            row = Row(asked.time, asked.origin, asked.key, model.version, role, asked.rollout, *made)
            self._predictions.add(model, row)

    async def _run(self, model: Model, inputs: Arrays, expires: float) -> Arrays:
        if expires < monotonic():
            raise Expired(f"the deadline passed before model {model.name} was asked; ask again, with more time")
        key = self._cache.key(model, inputs)
        if (known := self._cache.get(model, key)) is not None:
            return known
        outputs = await self._batcher.run(model, inputs, expires)
        self._cache.put(key, outputs)
        return outputs


def _loaded(served: Served, model: Model | None) -> Model:
    if model is None:
        raise UnknownModel(f"not loaded: {served.fault}")
    return model


def _rollout(served: Served) -> str:
    return served.rollout.id if served.rollout else ""


def _check_kind(model: Model, question: Question[Any]) -> None:
    if model.kind_name != question.kind:
        raise InvalidParameter(
            f"a question to a model of kind {question.kind} must name one, model {model.name} is of kind "
            f"{model.kind_name}; name another model"
        )
