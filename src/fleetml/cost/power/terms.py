"""The terms of a power model: products of features, and which of them each kind of model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from fleetml.cost.power.rows import NUMBERS, WORDS, Row, Value
from fleetml.frozen import frozen

DEGREE_2_FROM = 6
"""Distinct stream counts from which their square is a term."""


@frozen
class Term:
    """A product of numbers, each as often as it is named, that counts where the words are these."""

    numbers: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()

    def value(self, features: Mapping[str, Value]) -> float:
        """Return the value of the term. Raises KeyError or TypeError for a feature that is not known."""
        result = 1.0
        for name, word in self.words:
            if features[name] != word:
                return 0.0
        for name in self.numbers:
            result *= features[name]  # type: ignore[operator]
        return result

    def __mul__(self, other: Term) -> Term:
        return Term((*self.numbers, *other.numbers), (*self.words, *other.words))


_STREAMS, _BITS = Term(("streams",)), Term(("streams", "mbps"))
_PIXELS, _PIXELS_PER_FRAME = Term(("streams", "megapixels", "fps")), Term(("streams", "megapixels"))


def of_streams(rows: Sequence[Row]) -> tuple[Term, ...]:
    """Return the terms of streams alone: linear below 6 distinct counts, their square from there."""
    counts = len({row.features.get("streams") for row in rows})
    return (Term(("streams",)), Term(("streams", "streams")))[: 2 if counts >= DEGREE_2_FROM else 1]


def additive(rows: Sequence[Row]) -> tuple[Term, ...]:
    """Return every number and every word on its own."""
    return (*(Term((name,)) for name in _known(rows)), *_words(rows))


def load(rows: Sequence[Row]) -> tuple[Term, ...]:
    """Return what all streams do together: their number, bits and pixels a second (a frame, without fps); and every word."""
    return (*_loads(rows), *_words(rows))


def interacting(rows: Sequence[Row]) -> tuple[Term, ...]:
    """Return the load, that of every word apart, and the pairs of words; the load alone where that is more terms than rows."""
    words = _words(rows)
    pairs = [a * b for a, b in product(words, words) if a.words[0][0] < b.words[0][0]]
    found = (*load(rows), *(word * each for word, each in product(words, _loads(rows))), *pairs)
    return found if len(found) < len(rows) else load(rows)


def _loads(rows: Sequence[Row]) -> list[Term]:
    known = set(_known(rows))
    pixels = _PIXELS if "fps" in known else _PIXELS_PER_FRAME
    return [term for term in (_STREAMS, _BITS, pixels) if set(term.numbers) <= known]


def _known(rows: Sequence[Row]) -> list[str]:
    return [name for name in NUMBERS if all(isinstance(row.features.get(name), (int, float)) for row in rows)]


def _words(rows: Sequence[Row]) -> list[Term]:
    """Return a term of every word of a feature that is known in all rows, is not the same in all, and is no name of a row."""
    found = []
    for name in WORDS:
        words = [row.features.get(name) for row in rows]
        levels = sorted({word for word in words if isinstance(word, str)})
        if None not in words and 1 < len(levels) <= len(words) / 2:
            found += [Term((), ((name, word),)) for word in levels]
    return found
