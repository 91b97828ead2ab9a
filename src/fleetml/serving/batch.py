"""Several questions in one request: answers in their order, errors with the place of the question."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from fleetml.errors import FleetMLError

_T = TypeVar("_T")


@contextlib.contextmanager
def placed(place: int) -> Iterator[None]:
    """Name the question's place in the message of an error."""
    try:
        yield
    except FleetMLError as error:
        raise type(error)(f"question {place} of the batch: {error}") from error


async def in_order(asked: Sequence[Coroutine[Any, Any, _T]], places: Sequence[int] | None = None) -> list[_T]:
    """Return the answers in the order of the questions, asked at once. The first error names its question's place.

    `places` of the questions where they are not counted from 0 on.
    """
    answers: list[_T] = []
    for place, answer in zip(
        places or range(len(asked)), await asyncio.gather(*asked, return_exceptions=True), strict=True
    ):
        if isinstance(answer, BaseException):
            with placed(place):
                raise answer
        answers.append(answer)
    return answers
