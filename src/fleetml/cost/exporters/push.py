"""The same text pushed to where nobody scrapes: VictoriaMetrics' import of the text format, or a Pushgateway.

    http://host:8428/api/v1/import/prometheus[?extra_label=name=value]    VictoriaMetrics: POST
    http://host:9091/metrics/job/<job>[/<label>/<value>…]                 Pushgateway: PUT, which replaces the group

What is not taken is pushed again with the next turn; nothing is kept for later, as each push tells all there is.
"""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from fleetml import direct
from fleetml.cost.exporters.pages import TEXT
from fleetml.cost.exporters.remote import bearer, require_token, require_url
from fleetml.errors import ConfigurationError
from fleetml.frozen import field, frozen

SECONDS = 10.0
"""How long for an answer."""
_IMPORT, _GROUP = "/api/v1/import/prometheus", "/metrics/job/"


@frozen
class Receiver:
    """Where to push, how, and the token it wants ("": none)."""

    url: str
    method: str
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, token: str = "") -> Receiver:
        """Return the receiver at a URL. Raises ConfigurationError for one of another kind."""
        path = urllib.parse.urlsplit(require_url(url, "--push")).path.rstrip("/")
        token = require_token(token, "--push", url)
        if path.endswith(_IMPORT):
            return cls(url, "POST", token)
        if _GROUP in path:
            return cls(url, "PUT", token)
        raise ConfigurationError(
            f"--push is VictoriaMetrics' http://host:8428{_IMPORT} or a Pushgateway's http://host:9091{_GROUP}<job>, "
            f"got {url!r}; mend it"
        )

    def push(self, packed: bytes) -> str:
        """Push text that is compressed; return why it was not taken, "" where it was."""
        headers = {"Content-Type": TEXT, "Content-Encoding": "gzip", **bearer(self.token)}
        request = urllib.request.Request(self.url, packed, headers, method=self.method)  # noqa: S310 - http(s) by `of`
        try:
            direct.opener(self.url).open(request, timeout=SECONDS).close()
        except urllib.error.HTTPError as error:
            with error:
                return f"HTTP {error.code} {error.read(300).decode(errors='replace').strip()}"
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        return ""


class Pushing(threading.Thread):
    """Pushes what `text` returns (compressed, b"": nothing yet) when it changed, and every so many seconds."""

    def __init__(self, receiver: Receiver, seconds: float, text: Callable[[], bytes]) -> None:
        super().__init__(name="push", daemon=True)
        self.receiver = receiver
        self._fault = ""
        self._seconds, self._text = seconds, text
        self._wanted = threading.Event()

    def faults(self) -> tuple[str, ...]:
        """Return why the last push was not taken, () where it was."""
        return (f"{self.receiver.url} did not take what was pushed: {self._fault}",) if self._fault else ()

    def changed(self) -> None:
        """Have it pushed now."""
        self._wanted.set()

    def run(self) -> None:
        while True:
            self._wanted.wait(self._seconds)
            self._wanted.clear()
            if packed := self._text():
                self._fault = self.receiver.push(packed)
