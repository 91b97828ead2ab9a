"""Several questions in one request."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from fleetml.errors import FleetMLError

_T = TypeVar("_T")


async def in_order(asked: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Return the answers in the order of the questions, asked at once. The first error names its question's place."""
    answers: list[_T] = []
    for place, answer in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
        if isinstance(answer, FleetMLError):
            raise type(answer)(f"question {place} of the batch: {answer}")
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers
