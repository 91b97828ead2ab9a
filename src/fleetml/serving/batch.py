"""Several questions in one request: answers in their order, errors with the place of the question."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

from fleetml.errors import FleetMLError

_T = TypeVar("_T")


class Placed:
    """Names the place of the question that an error is about in its message: ``with Placed() as at: for at.place, …``."""

    place = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, FleetMLError):
            raise type(error)(f"question {self.place} of the batch: {error}") from error


async def in_order(asked: Sequence[Coroutine[Any, Any, _T]], places: Sequence[int] | None = None) -> list[_T]:
    """Return the answers in the order of the questions, asked at once. The first error names its question's place.

    `places` of the questions where they are not counted from 0 on.
    """
    answers: list[_T] = []
    made = await asyncio.gather(*asked, return_exceptions=True)
    with Placed() as at:
        for at.place, answer in zip(places or range(len(asked)), made, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
    return answers
