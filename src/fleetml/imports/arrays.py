"""Arrays in a file between two processes: text as fixed-width unicode, never a pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def write(path: Path, arrays: Arrays) -> None:
    """Write named arrays as .npz; objects become text."""
    np.savez(path, **{name: np.asarray(a, str) if a.dtype == object else a for name, a in arrays.items()})  # type: ignore[arg-type]


def read(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz. Raises OSError, ValueError where it is none or holds a pickle."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
