"""Categories as numbers: one look-up of the text, then rows of tables (one-hot, order, target encodings)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetml.learn.builder import Builder

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]
MOST_ONE_HOT = 64  # categories with a column of their own; the rest share one
_MOST_CLASSES = 10  # of a target that is encoded: a column each
_PRIOR_ROWS = 10.0  # an encoding is the mean over a category's rows and this many of the average row


@dataclass(frozen=True)
class Categories:
    """The texts of a column by frequency (ties by name). Codes: their places, then `missing`, then `unseen`."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, values: npt.NDArray[np.generic]) -> "Categories":
        """Return the categories of a column [N, 1] or [N] of texts; "" is missing."""
        names, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        return cls(tuple(str(name) for name in names[np.argsort(-counts, kind="stable")]))

    @property
    def missing(self) -> int:
        return len(self.names)

    @property
    def unseen(self) -> int:
        return len(self.names) + 1

    def codes(self, values: npt.NDArray[np.generic]) -> Codes:
        """Return the codes of texts, [N]."""
        places = {name: place for place, name in enumerate(self.names)} | {"": self.missing}
        return np.array([places.get(str(value), self.unseen) for value in values.ravel()], dtype=np.int64)

    def look_up(self, made: Builder, column: str) -> str:
        """Add the codes int64 [batch, 1] of a column string [batch, 1]."""
        keys, places = [*self.names, ""], list(range(len(self.names) + 1))
        return made.op(
            "LabelEncoder",
            column,
            domain="ai.onnx.ml",
            keys_strings=keys,
            values_int64s=places,
            default_int64=self.unseen,
        )

    def one_hot(self) -> Floats:
        """Return the table [codes, W]: the most frequent, the others together (the unseen are of them), the missing."""
        own = min(len(self.names), MOST_ONE_HOT)
        table = np.zeros((len(self.names) + 2, own + 2), np.float32)
        table[np.arange(own), np.arange(own)] = 1
        table[own : self.missing, own] = table[self.unseen, own] = 1
        table[self.missing, own + 1] = 1
        return table

    def order(self) -> Floats:
        """Return the table [codes, 1] of places by frequency; -1 missing, -2 unseen."""
        places = np.arange(len(self.names) + 2, dtype=np.float32)
        places[self.missing], places[self.unseen] = -1, -2
        return places.reshape(-1, 1)


def rows_of(made: Builder, table: Floats, codes: str) -> str:
    """Add the rows [batch, W] of a table [codes, W]."""
    found = made.op("Gather", made.constant(table), codes, axis=0)
    return made.op("Reshape", found, made.integers(-1, table.shape[1]))


def encoded_target(target: npt.NDArray[np.generic], classes: int) -> Floats | None:
    """Return what is averaged over a category, [N, T]: the value itself, or whether the row is of each class.

    Of two classes the second says all; of more than 10 classes nothing is encoded (None). `classes` is 0 of a regression.
    """
    if not classes:
        return target.astype(np.float32).reshape(-1, 1)
    if classes > _MOST_CLASSES:
        return None
    kept = [1] if classes == 2 else range(classes)
    return np.stack([(target == one).astype(np.float32) for one in kept], axis=1)


def target_table(codes: Codes, size: int, target: Floats) -> Floats:
    """Return the table [size, T] of the target's mean by code, drawn to the overall mean; that where no row has the code."""
    prior = target.mean(axis=0, dtype=np.float64) if len(target) else np.zeros(target.shape[1])
    counts = np.bincount(codes, minlength=size)[:, None]
    sums = np.stack([np.bincount(codes, weights=column, minlength=size) for column in target.T], axis=1)
    return ((sums + _PRIOR_ROWS * prior) / (counts + _PRIOR_ROWS)).astype(np.float32)


def out_of_fold(
    codes: Codes, size: int, target: Floats, folds: npt.NDArray[np.generic], ordered: bool = False
) -> Floats:
    """Return the encodings [N, T] of training rows, each from the rows of other folds (earlier ones where `ordered`)."""
    found = np.empty((len(codes), target.shape[1]), np.float32)
    for fold in np.unique(folds).tolist():
        mine = folds == fold
        others = folds < fold if ordered else ~mine
        found[mine] = target_table(codes[others], size, target[others])[codes[mine]]
    return found


def names_of(column: str, categories: Categories) -> Sequence[str]:
    """Return the names of the columns of `one_hot`, for people."""
    own = categories.names[:MOST_ONE_HOT]
    return [*(f"{column}={name}" for name in own), f"{column}=other", f"{column}=missing"]
