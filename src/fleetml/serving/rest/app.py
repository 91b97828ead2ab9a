"""The ASGI application: its routes, who gets in, and how errors are told."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.serving import errors, forecast, metrics
from fleetml.serving.admission import Admission
from fleetml.serving.batch import Placed
from fleetml.serving.contract import MESSAGE_BYTES, PROBE
from fleetml.serving.errors import Expired
from fleetml.serving.inference import Inference
from fleetml.serving.model import Model
from fleetml.serving.oip import describe
from fleetml.serving.rest import messages
from fleetml.serving.rest.infer import LENGTH, infer
from fleetml.serving.rest.messages import Predict

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_JSON = b"application/json"
_METHODS = ("GET", "POST")


class NoRoute(FleetMLError):
    """There is nothing at this path, or only for the method `allow`."""

    def __init__(self, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back. `header`: length of the JSON, where raw tensors follow; `allow`: the method that the path takes."""

    body: bytes = b""
    status: int = 200
    content_type: bytes = _JSON
    header: int | None = None
    allow: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `parts` of its path, and its body once it is asked for. `expires` by the monotonic clock."""

    method: str
    parts: list[str]
    headers: dict[bytes, bytes]
    receive: Receive
    expires: float

    async def body(self) -> bytes:
        """Raises InvalidParameter for one that is too long, Expired for one that does not come."""
        parts: list[bytes] = []
        length = 0
        while True:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise Expired("the client went away before it had sent its request; send it again")
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > MESSAGE_BYTES:
                raise InvalidParameter(f"a request has at most {MESSAGE_BYTES} bytes, got more; send smaller batches")
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _next(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(max(0.0, self.expires - time.monotonic())):
                return await self.receive()
        except TimeoutError:
            raise Expired("the request did not come to its end in time; send it faster") from None


Route = tuple[str, Callable[[Call], Awaitable[Response]]]


class App:
    """Answers HTTP requests from `inference`; those that take longer than `seconds` have expired."""

    def __init__(self, inference: Inference, admission: Admission, seconds: float, textfiles: Sequence[Path]) -> None:
        self._inference = inference
        self._admission = admission
        self._seconds = seconds
        self._textfiles = textfiles

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        path = str(scope["path"]).strip("/")
        call = Call(scope["method"], path.split("/"), headers, receive, time.monotonic() + self._seconds)
        route, response = "unknown", Response(status=500)
        try:
            route, handler = self._find(call)
            if route != "health" and not self._admission.open:
                address = (scope.get("client") or ("unknown", 0))[0]
                self._admission.admit(headers.get(b"authorization", b"").decode("latin-1"), address)
            response = await handler(call)
        except NoRoute as error:
            told = _told(errors.told(error), 405 if error.allow else 404)
            response = replace(told, allow=error.allow.encode())
        except FleetMLError as error:
            response = _told(errors.told(error), errors.http_status(error))
        except Exception:
            log.exception("%s %s failed", call.method, path)
            response = _told("the server failed; its log says why", 500)
        metrics.http(route, response.status).inc()
        await _send(send, response)

    def _find(self, call: Call) -> Route:
        path = f"/{'/'.join(call.parts)[:200]}"
        if found := self._route(call.method, call.parts):
            return found
        for method in _METHODS:
            if self._route(method, call.parts):
                raise NoRoute(f"{path} takes {method}, got {call.method}; see docs/serving.md", allow=method)
        raise NoRoute(f"there is no {call.method} {path}; see docs/serving.md")

    def _route(self, method: str, parts: list[str]) -> Route | None:
        match method, parts:
            case "POST", ["v2", "models", _, *_, "infer"] if len(parts) in (4, 6):
                return "infer", self._infer
            case "POST", ["api", "v1", "predict"]:
                return "predict", self._predict
            case "POST", ["api", "v1", "predict", "batch"]:
                return "predict_batch", self._predict_batch
            case "GET", ["v2", "health", "live" | "ready"]:
                return "health", self._health
            case "GET", ["v2", "models", _, *_, "ready"] if len(parts) in (4, 6):
                return "health", self._model_ready
            case "GET", ["v2", "models", _] | ["v2", "models", _, "versions", _]:
                return "model", self._model
            case "GET", ["v2"]:
                return "server", self._server
            case "GET", ["metrics"]:
                return "metrics", self._metrics
        return None

    async def _infer(self, call: Call) -> Response:
        name, version = _model(call.parts)
        body = await call.body()
        raw, probe = call.headers.get(LENGTH), PROBE.encode() in call.headers
        told, header = await infer(self._inference, name, version, body, raw, call.expires, probe)
        return Response(told, content_type=_JSON if header is None else b"application/octet-stream", header=header)

    async def _predict(self, call: Call) -> Response:
        request = messages.decode(messages.PREDICT, await call.body())
        probe = PROBE.encode() in call.headers
        answered = await self._inference.ask(request.model, _question(request), probe, call.expires)
        return Response(messages.encode(_forecast(*answered)))

    async def _predict_batch(self, call: Call) -> Response:
        requests = messages.decode(messages.BATCH, await call.body()).requests
        probe = PROBE.encode() in call.headers
        answers: list[Any] = [None] * len(requests)
        for name in dict.fromkeys(request.model for request in requests):
            places = [place for place, request in enumerate(requests) if request.model == name]
            questions = []
            with Placed() as at:
                for at.place in places:
                    questions.append(_question(requests[at.place]))
            made = await self._inference.ask_many(name, questions, probe, call.expires)
            for place, answered in zip(places, made, strict=True):
                answers[place] = _forecast(*answered)
        return Response(messages.encode({"responses": answers}))

    async def _health(self, call: Call) -> Response:
        if call.parts[2] == "live":
            return Response(b'{"live":true}')
        ready = self._inference.models.looked
        return Response(messages.encode({"ready": ready}), 200 if ready else 503)

    async def _model_ready(self, call: Call) -> Response:
        name, version = _model(call.parts)
        ready = describe.ready(self._inference.models, name, version)
        return Response(messages.encode({"name": name, "ready": ready}), 200 if ready else 503)

    async def _model(self, call: Call) -> Response:
        return Response(messages.encode(describe.model(self._inference.models, *_model(call.parts))))

    async def _server(self, call: Call) -> Response:
        return Response(messages.encode(describe.SERVER))

    async def _metrics(self, call: Call) -> Response:
        said = await asyncio.get_running_loop().run_in_executor(None, metrics.exposition, self._textfiles)
        return Response(said, content_type=b"text/plain; version=0.0.4; charset=utf-8")


def _question(request: Predict) -> forecast.Question:
    as_of = request.as_of
    if as_of is not None:
        try:
            as_of = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
        except OverflowError as error:
            raise InvalidParameter(
                f"as_of must be a time from the year 1 to 9999 in UTC, got {as_of.isoformat()}; correct it"
            ) from error
    asked = (request.vm_id, request.historical_metrics, request.horizon_minutes, request.covariates, as_of)
    return forecast.Question(*asked)


def _forecast(model: Model, answer: forecast.Forecast) -> dict[str, Any]:
    return {
        "predictions": answer.predictions.tolist(),
        "confidence": model.confidence,
        "model_version": model.version,
        "step_seconds": answer.step_seconds,
    }


def _model(parts: list[str]) -> tuple[str, str]:
    """v2/models/<name>[/versions/<version>]…"""
    if len(parts) > 4 and parts[3] != "versions":
        raise NoRoute(f"there is no /{'/'.join(parts)[:200]}; see docs/serving.md")
    return parts[2], parts[4] if len(parts) > 4 else ""


def _told(message: str, status: int) -> Response:
    return Response(messages.encode({"error": message}), status)


async def _send(send: Send, response: Response) -> None:
    headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % len(response.body))]
    if response.header is not None:
        headers.append((LENGTH, b"%d" % response.header))
    if response.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if response.allow:
        headers.append((b"allow", response.allow))
    if response.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
