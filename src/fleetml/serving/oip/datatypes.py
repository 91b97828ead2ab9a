"""The protocol's data types and their bytes: little-endian, row by row."""

import math
import struct
from collections.abc import Sequence

import numpy as np

from fleetml.errors import InvalidParameter
from fleetml.serving.backends import Array, Tensor
from fleetml.serving.contract import MESSAGE_BYTES

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_AXES = 32


def name(tensor: Tensor) -> str:
    """Return the protocol's name of a tensor's type."""
    return NAMES.get(tensor.dtype, "BYTES")


def dtype(datatype: str, where: str) -> np.dtype[np.generic]:
    """Return what NumPy calls a datatype. Raises InvalidParameter for one the protocol does not have."""
    try:
        return DTYPES[datatype]
    except KeyError:
        raise InvalidParameter(
            f"the datatype of input {where} must be one of {', '.join(DTYPES)}, got {datatype!r}; correct it"
        ) from None


def of(array: Array, where: str) -> str:
    """Return the protocol's name of an array's type. Raises InvalidParameter for one that it does not have."""
    try:
        return NAMES[array.dtype.newbyteorder("=")]
    except KeyError:
        raise InvalidParameter(
            f"input {where} must be an array of {', '.join(str(kind) for kind in NAMES)} (object: texts), got {array.dtype}; "
            "convert it with astype"
        ) from None


def from_bytes(raw: bytes | memoryview, datatype: str, shape: Sequence[int], where: str) -> Array:
    """Return raw bytes as an array, without a copy but for BYTES. Raises InvalidParameter for another length."""
    kind, sizes = dtype(datatype, where), tuple(shape)
    count = _count(sizes, where)
    if kind.hasobject:
        return _texts(raw, count, where).reshape(sizes)
    if len(raw) != count * kind.itemsize:
        raise InvalidParameter(
            f"input {where} of type {datatype} and shape {list(sizes)} must have {count * kind.itemsize} bytes, got {len(raw)}; "
            "correct its shape or its content"
        )
    return np.frombuffer(raw, kind).reshape(sizes)


def from_values(values: Sequence[object], datatype: str, shape: Sequence[int], where: str) -> Array:
    """Return values, row by row, as an array. Raises InvalidParameter for another count, or for values of another type."""
    kind, count = dtype(datatype, where), _count(shape, where)
    if len(values) != count:
        raise InvalidParameter(
            f"input {where} of shape {list(shape)} must have {count} values, got {len(values)}; correct its shape or its data"
        )
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=kind).reshape(tuple(shape))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidParameter(
            f"input {where} must hold {datatype} values, got others ({error}); correct its data"
        ) from error


def to_bytes(array: Array) -> bytes:
    """Return the bytes of an array as the protocol lays them out."""
    if array.dtype == object:
        parts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _count(shape: Sequence[int], where: str) -> int:
    """Return the elements of a shape. Checked first: to multiply 100,000 large sizes takes minutes, and NumPy refuses most."""
    if (
        len(shape) > MOST_AXES
        or min(shape, default=0) < 0
        or max(shape, default=0) > MESSAGE_BYTES
        or math.prod([size or 1 for size in shape]) > MESSAGE_BYTES
    ):
        raise InvalidParameter(
            f"the shape of input {where} must be given in full, at most {MOST_AXES} sizes from 0 and {MESSAGE_BYTES} elements, "
            f"got {len(shape)} sizes, {str(list(shape[:4]))[1:-1][:100]}{', …' if len(shape) > 4 else ''}; correct it"
        )
    return math.prod(shape)


def _texts(raw: bytes | memoryview, count: int, where: str) -> Array:
    """Each element follows its length, 4 bytes."""
    found: list[str] = []
    at = 0
    while at + 4 <= len(raw) and len(found) <= count:
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4 + length
        if at > len(raw):
            break
        found.append(bytes(raw[at - length : at]).decode("utf-8", "replace"))
    if at != len(raw) or len(found) != count:
        raise InvalidParameter(
            f"input {where} of type BYTES must hold {count} elements, each after its length in 4 bytes, got other content; "
            "correct it"
        )
    return np.array(found, dtype=object)
