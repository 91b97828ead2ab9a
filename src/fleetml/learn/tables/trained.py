"""The rows that models are fitted to: of all training rows, and of each validation fold as if the others did not exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fleetml.learn.tables import encoding
from fleetml.learn.tables.encoding import Codes

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
ALL = -1  # what is fitted to all training rows, beside the numbers of the folds
_INNER = 5  # parts of the training rows of a fold that are of one part


@dataclass(frozen=True)
class Folds:
    """How training rows are dealt out, and which of them and of the features each validation fold may learn from.

    parts [N]: a target encoding of a row comes from the rows of other parts, of earlier ones where `ordered`. `learnt`: K times the places
    of the rows that a fold learns from. `own`: K + 1 times the names of the features it is given, the last of all rows; (): all of them.
    """

    parts: npt.NDArray[np.generic]
    ordered: bool = False
    learnt: Sequence[Places] = ()
    own: Sequence[frozenset[str]] = ()

    def given(self, sources: Sequence[str], width: int) -> Mask:
        """Return which columns [W], made of these features (one each, or one of all), a fold is given: [K + 1, W]."""
        names = [*sources] * (width if len(sources) == 1 else 1)
        every = np.ones((len(self.learnt) + 1, width), np.bool_)
        return np.array([[name in own for name in names] for own in self.own]) if self.own else every

    def encoded(self, codes: Codes, size: int, target: Floats) -> tuple[Floats, ...]:
        """Return the encodings [N, T] of rows in each fold, of which only what it learns from tells the target.

        A row it learns from is encoded by the rows of other parts that it learns from, one that is held by all of these.
        """
        return tuple(self._of(learnt, codes, size, target) for learnt in self.learnt)

    def _of(self, learnt: Places, codes: Codes, size: int, target: Floats) -> Floats:
        mine, wanted, parts, ordered = codes[learnt], target[learnt], self.parts[learnt], self.ordered
        found = encoding.target_table(mine, size, wanted)[codes]
        if len(np.unique(parts)) == 1:
            parts, ordered = np.arange(len(learnt)) % _INNER, False
        found[learnt] = encoding.out_of_fold(mine, size, wanted, parts, ordered)
        return found


@dataclass(frozen=True)
class Trained:
    """One head's training rows [N, F]; `encodings`, K of [N, E], stand in columns `at` [E] in the folds; given [K + 1, F]."""

    rows: Floats
    at: Places
    encodings: tuple[Floats, ...]
    given: Mask

    @classmethod
    def plain(cls, rows: Floats) -> "Trained":
        """Return rows without encodings, of no fold."""
        return cls(rows, np.empty(0, np.int64), (), np.ones((1, rows.shape[1]), np.bool_))

    def columns(self, fold: int) -> Places | None:
        """Return the columns that models of a fold (`ALL`: of all rows) are given, None where it is all."""
        return None if self.given[fold].all() else np.flatnonzero(self.given[fold])

    def of(self, fold: int, places: Places | None = None) -> Floats:
        """Return the rows [P, F'] at these places, by default all, as a fold knows them."""
        found = self.rows.copy() if places is None else self.rows[places]
        if fold != ALL:
            known = self.encodings[fold]
            found[:, self.at] = known if places is None else known[places]
        columns = self.columns(fold)
        return found if columns is None else found[:, columns]

    def taken(self, kept: Places) -> "Trained":
        """Return some of the columns."""
        among = np.isin(self.at, kept)
        at = np.searchsorted(kept, self.at[among])
        return Trained(self.rows[:, kept], at, tuple(each[:, among] for each in self.encodings), self.given[:, kept])

    def mapped(self, change: Callable[[Floats, Places], Floats]) -> "Trained":
        """Return the rows after a change of values [N, W], told their columns [W]."""
        every = np.arange(self.rows.shape[1])
        changed = tuple(change(each, self.at) for each in self.encodings)
        return replace(self, rows=change(self.rows, every), encodings=changed)
