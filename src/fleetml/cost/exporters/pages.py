"""What the endpoints answer: bytes that are ready before anybody asks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

from fleetml.frozen import frozen

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format."""
_LEVEL = 3  # of zlib: on such text three times as fast as 6, and a sixth larger
_GZIP = 31  # wbits: a gzip header and trailer


@frozen
class Page:
    """One answer, as it is and compressed (b"": never)."""

    plain: bytes
    packed: bytes = b""
    kind: str = TEXT
    status: int = 200


def page(lines: Iterable[bytes]) -> Page:
    """Return the page of a text that is given in parts. It is put together once: the whole takes some MB."""
    plain, packer = bytearray(), zlib.compressobj(_LEVEL, wbits=_GZIP)
    packed = []
    for part in lines:
        plain += part
        packed.append(packer.compress(part))
    packed.append(packer.flush())
    return Page(bytes(plain), b"".join(packed))


def document(status: int, found: Any) -> Page:
    """Return a page of JSON; what UTF-8 cannot say, in a file's name say, is a question mark."""
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    return Page(text.encode(errors="replace"), b"", "application/json", status)


class Board:
    """The pages of one endpoint by their paths. Each is replaced whole: who asks sees the one before or the one after."""

    def __init__(self, pages: dict[str, Page]) -> None:
        self.pages = pages
