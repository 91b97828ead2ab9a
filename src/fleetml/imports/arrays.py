"""Arrays in a file between two processes: text as fixed-width unicode, never a pickle."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetml.imports.archives import BROKEN

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def write(path: Path, arrays: Arrays) -> None:
    """Write named arrays as .npz; objects become text. Any name will do: np.savez takes none that is an argument of its own."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            plain = np.asarray(array, str) if array.dtype == object else np.asarray(array)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, plain, allow_pickle=False)


def read(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz, or that of an .npy by the name "". Raises ValueError where it is none or holds a pickle."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            return {name: found[name] for name in found.files}
    except (*BROKEN, MemoryError) as error:
        raise ValueError(str(error) or "it is cut short") from error
