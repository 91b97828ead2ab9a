"""A message's content as few objects: each is a question of its own to a link, which takes milliseconds over it.

Flower sends every array of a model as two objects. In an envelope the records are one piece of bytes, Flower's own protobuf
of them, cut where it is long.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Records
from google.protobuf.message import DecodeError

PIECE_BYTES = 16 * 2**20
_BYTES = "bytes"


def sealed(content: RecordDict) -> RecordDict:
    """Return the records as pieces, in their order."""
    whole = recorddict_to_proto(content).SerializeToString(deterministic=True)
    pieces = range(0, max(len(whole), 1), PIECE_BYTES)
    return RecordDict({f"{start:015d}": ConfigRecord({_BYTES: whole[start : start + PIECE_BYTES]}) for start in pieces})


def opened(content: RecordDict) -> RecordDict:
    """Return the records that were sealed. Raises ValueError for what is no envelope."""
    try:
        pieces = [content.config_records[name][_BYTES] for name in sorted(content.config_records)]
        return recorddict_from_proto(Records.FromString(b"".join(pieces)))  # type: ignore[arg-type]
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it holds no records: {error}") from error
