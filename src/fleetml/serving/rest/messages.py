"""JSON in and out; msgspec checks types while it decodes."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from fleetml.errors import InvalidParameter

_T = TypeVar("_T")


class Tensor(msgspec.Struct):
    """An input. `data` is flat or nested, row by row; None: it stands behind the JSON (``binary_data_size``)."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Infer(msgspec.Struct):
    """An inference request of the protocol."""

    inputs: list[Tensor]
    id: str = ""
    outputs: list[Wanted] = []
    parameters: dict[str, Any] = {}


class Predict(msgspec.Struct, forbid_unknown_fields=True):
    """As BandwidthRequest and ForecastRequest."""

    vm_id: str
    historical_metrics: list[float]
    horizon_minutes: int
    model: str = "bandwidth"
    covariates: dict[str, float] | None = None
    as_of: datetime | None = None


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Several questions."""

    requests: list[Predict]


encode = msgspec.json.Encoder().encode
INFER = msgspec.json.Decoder(Infer)
PREDICT = msgspec.json.Decoder(Predict)
BATCH = msgspec.json.Decoder(Batch)


def decode(decoder: msgspec.json.Decoder[_T], body: bytes | memoryview) -> _T:
    """Raises InvalidParameter for what is no such message."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(
            f"the body must be JSON as documented, got something else: {error}; correct it"
        ) from error
