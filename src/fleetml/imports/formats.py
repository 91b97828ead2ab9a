"""What a model file is, by its content: suffixes say nothing. Standard library only."""

import io
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fleetml.errors import InvalidData
from fleetml.imports.archives import BROKEN

MAX_BYTES = 4 << 30  # of a file, and of what an archive unpacks to
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4", b"\x78": "zlib"}
_HEAD = 4096
_MAX_OPCODES = 10_000
_LOOKED_AT = 1 << 20  # bytes of what may be a pickle: of an archive they are unpacked
REMEDY = "save the model as ONNX, with skops (scikit-learn), as XGBoost JSON or UBJ, LightGBM text, torch.export (.pt2) or .keras"


@dataclass(frozen=True)
class Format:
    """`module` of `fleetml.imports.sources` reads it, `image` is the environment where that runs, `suffix` the usual one."""

    name: str
    module: str
    suffix: str
    image: str = "fleetml/ml"


FORMATS = {
    "onnx": Format("ONNX", "onnx", ".onnx"),
    "skops": Format("scikit-learn (skops)", "skops", ".skops"),
    "xgboost": Format("XGBoost", "xgboost", ".ubj"),
    "lightgbm": Format("LightGBM", "lightgbm", ".txt"),
    "torch": Format("torch.export", "torch", ".pt2"),
    "keras": Format("Keras", "keras", ".keras", "fleetml/keras"),
}


def recognise(path: Path) -> str:
    """Return the key of `FORMATS` that a file is. Raises InvalidData for a pickle, and for what is none of them."""
    if path.is_dir():
        raise InvalidData(
            f"a model is one file, {path} is a folder; a TensorFlow SavedModel: load it in Keras and save it as .keras, or {REMEDY}"
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as content:
            head = content.read(_HEAD)
    except OSError as error:
        raise InvalidData(f"the model must be readable, {path} is not: {error.strerror}; correct the name") from error
    if not size or size > MAX_BYTES:
        raise InvalidData(f"a model must have 1 byte to {MAX_BYTES >> 30} GiB, {path} has {size} bytes; {REMEDY}")
    if head.startswith(b"PK\x03\x04"):
        return _of_archive(path)
    if found := _of_head(head):
        return found
    with path.open("rb") as whole:
        refuse_pickle(whole, str(path))
    if head.lstrip().startswith(b"{") and b'"learner"' in head:
        return "xgboost"
    if head.startswith(b"\x08"):  # the first field of ONNX's ModelProto, ir_version
        return "onnx"
    raise InvalidData(f"{path} is none of {_known()}, by its content; {REMEDY}")


def refuse_pickle(content: IO[bytes], place: str) -> None:
    """Raises InvalidData where the bytes are a Python pickle: to load one is to run what its author wrote."""
    if is_pickle(content):
        raise InvalidData(
            f"a pickle runs whatever its author wrote when it is loaded, so none is imported, {place} is or holds one "
            f"(pickle, joblib, torch.save); {REMEDY}"
        )


def is_pickle(content: IO[bytes]) -> bool:
    """Say whether bytes begin with a pickle of any protocol: opcodes up to STOP, or 10,000 of them, or a MiB. Nothing is run."""
    count, begin = 0, io.BytesIO(content.read(_LOOKED_AT))
    try:
        for _opcode, _argument, _place in pickletools.genops(begin):
            count += 1
            if count == _MAX_OPCODES:
                break
    except (ValueError, IndexError, OverflowError, UnicodeError, MemoryError):
        # joblib writes arrays between the opcodes: such a file stops parsing, but begins like every newer pickle
        cut = begin.getbuffer().nbytes == _LOOKED_AT and not begin.read(1)
        newer = begin.getvalue()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        return (newer or cut) and count > 1
    return count > 1


def _of_head(head: bytes) -> str:
    """Return the format that the first bytes alone decide, "" for none. Raises InvalidData."""
    if head.startswith(b"tree\n") and b"version=" in head:
        return "lightgbm"
    if head.startswith(b"{L\x00") and b"learner" in head:
        return "xgboost"
    if head.startswith((b"binf", b"CONFIG-offset:")):
        raise InvalidData(
            f"XGBoost's old binary format is not imported; save it with save_model('model.ubj'), or {REMEDY}"
        )
    if head.startswith(b"\x89HDF"):
        raise InvalidData(
            f"HDF5 is Keras' old format, which may hold code; load it in Keras and save it as .keras, or {REMEDY}"
        )
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise InvalidData(
                f"a compressed file ({name}) is no model; a joblib file is a pickle, which is refused: {REMEDY}"
            )
    return ""


def _of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(names) < len(members) or sum(member.file_size for member in members) > MAX_BYTES:
                raise InvalidData(
                    f"an archive unpacks to at most {MAX_BYTES >> 30} GiB, each name once, {path} does not; {REMEDY}"
                )
            for name in names:
                if name.endswith((".pkl", ".pickle", ".joblib")):
                    raise InvalidData(
                        f"a pickle runs whatever its author wrote, {path} holds {name} (torch.save, torch.jit); {REMEDY}"
                    )
            return _by_members(path, names, archive)
    except BROKEN as error:
        raise InvalidData(f"{path} begins as an archive, but is none: {error}; copy it again, or {REMEDY}") from error


def _by_members(path: Path, names: set[str], archive: zipfile.ZipFile) -> str:
    if "schema.json" in names:
        return "skops"
    if {"config.json", "metadata.json"} <= names:
        return "keras"
    if any(name.endswith("/archive_format") or name == "archive_format" for name in names):
        return "torch"
    for name in names:
        with archive.open(name) as member:
            refuse_pickle(member, f"{path}: {name}")
    raise InvalidData(f"the archive {path} is none of {_known()}, by its members; {REMEDY}")


def _known() -> str:
    return ", ".join(known.name for known in FORMATS.values())
