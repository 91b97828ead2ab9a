"""A region's node: one process beside the region's data that answers what the link asks, as long as it lives.

It takes the part of Flower's SuperNode, its executor and the process that these start for every message (seven seconds of
imports each): it speaks the same Fleet API. The app is the installed one; code that a link offers is never asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node as NodeId
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from components.federated import keys
from components.federated.envelope import opened, sealed
from components.federated.session import SILENT_SECONDS, TAKEN, Session, taken
from components.federated.transport import PULL_SECONDS, named, pause, retries

log = logging.getLogger(__name__)

App = Callable[[Message, Context], Message]
_UNKNOWN, _OVER = 401, 403
"""What a link answers to a node that it does not know, and of a run that has ended."""


class Node:
    """A region, connected with its link.

    `authority` is the PEM file of the certificate that the link's is signed by, `key` that of the region's private key.
    A link that is away is asked again for `patience` seconds, None: for ever. `watchers` see every request as it leaves.
    Raises ConfigurationError.
    """

    def __init__(
        self,
        address: str,
        authority: Path,
        key: Path,
        patience: float | None = None,
        watchers: tuple[ProtobufClientInterceptor, ...] = (),
    ) -> None:
        private = keys.private_key(key)
        self._address, self._ended = address, threading.Event()
        self._retries = retries(patience, self._ended)
        self._client = FleetHttpClient.from_server_address(
            address,
            False,
            keys.authority(authority),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private, private.public_key()),
                Session(),
                *watchers,
            ],
        )
        self._public = public_key_to_bytes(private.public_key())
        self._id = NodeId()
        self._contexts: dict[int, Context] = {}

    def serve(self, app: App, config: dict[str, Any]) -> None:
        """Answer until `end`. What a node remembers of a run is forgotten with the next one.

        Raises ConfigurationError where the link does not take the region or another node has its key, Unavailable where it is away for
        too long.
        """
        beat = threading.Thread(target=self._heartbeat, daemon=True)
        try:
            self._activate()
            beat.start()
            self._answer(app, config)
        except httpx.HTTPError as error:
            if not self._ended.is_set():
                raise (taken(self._address) if _says(error, TAKEN) else named(error, self._address)) from error
        finally:
            self._ended.set()
            with suppress(httpx.HTTPError):
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._id.node_id))
            self._client.close()

    def end(self) -> None:
        """Stop after what is being answered."""
        self._ended.set()

    def _activate(self) -> None:
        """Be known to the link as there; it takes a node as gone that it misses for two heartbeats."""
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_MIN_INTERVAL)
        until = time.monotonic() + 2 * SILENT_SECONDS
        while True:
            try:
                self._id = NodeId(node_id=self._retries.invoke(self._client.ActivateNode, request).node_id)
                break
            except httpx.HTTPStatusError as error:  # the one before may have died a moment ago
                if not _says(error, TAKEN) or time.monotonic() > until or self._ended.wait(1.0):
                    raise
        log.warning("the region's node waits for the rounds of the link at %s", self._address)

    def _heartbeat(self) -> None:
        while not self._ended.wait(HEARTBEAT_MIN_INTERVAL / 2):
            with suppress(httpx.HTTPError):
                self._client.SendNodeHeartbeat(
                    SendNodeHeartbeatRequest(node=self._id, heartbeat_interval=HEARTBEAT_MIN_INTERVAL)
                )

    def _answer(self, app: App, config: dict[str, Any]) -> None:
        heard = time.monotonic()
        while not self._ended.is_set():
            try:
                message = self._next()
                if message is None:
                    self._ended.wait(pause(heard, share=0.2))  # each question is signed, and there are many nodes
                    continue
                self._reply(answered(app, message, self._context(message.metadata.run_id, config)))
            except httpx.HTTPStatusError as error:
                if not _says(error, _UNKNOWN, _OVER):
                    raise
                log.warning("what was asked is not asked any more: the run has ended, or the link was started again")
                if _says(error, _UNKNOWN):
                    self._activate()
            except (ObjectPullError, ObjectPushError) as error:
                log.warning("what was asked is not asked any more: %s", error)
            except ValueError as error:
                log.warning("what was asked cannot be read: %s", error)
            heard = time.monotonic()

    def _next(self) -> Message | None:
        """Return what the region is asked, None where nothing is."""
        response: PullMessagesResponse = self._retries.invoke(
            self._client.PullMessages, PullMessagesRequest(node=self._id)
        )
        if not response.messages_list:
            return None
        run, tree = response.messages_list[0].metadata.run_id, response.message_object_trees[0]
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._asking(self._client.PullObject), self._id, run),
            make_confirm_message_received_fn_protobuf(self._asking(self._client.ConfirmMessageReceived), self._id, run),
            return_type=Message,
            max_time=PULL_SECONDS,
            initial_backoff=0.02,
            backoff_cap=1.0,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        message.content = opened(message.content)
        return message

    def _asking(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda request: self._retries.invoke(call, request)

    def _context(self, run: int, config: dict[str, Any]) -> Context:
        if run not in self._contexts:
            fresh = Context(run_id=run, node_id=self._id.node_id, node_config=config, state=RecordDict(), run_config={})
            self._contexts = {run: fresh}
        return self._contexts[run]

    def _reply(self, message: Message) -> None:
        if message.has_content():
            message.content = sealed(message.content)
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            request = PushMessagesRequest(
                node=self._id,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
                clientapp_runtime_list=[0.0],
            )
            taken = self._retries.invoke(self._client.PushMessages, request)
            push = make_push_object_fn_protobuf(
                self._asking(self._client.PushObject), self._id, message.metadata.run_id, taken.session_id
            )
            push_objects(get_all_nested_objects(message), push, object_ids_to_push=set(taken.objects_to_push))


def _says(error: httpx.HTTPError, *statuses: int) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in statuses


def answered(app: App, message: Message, context: Context) -> Message:
    """Return the app's answer, or one that says what went wrong: its class alone, for a text may quote data."""
    try:
        return app(message, context)
    except Exception as error:  # whatever a region's code raises ends its part of the round, and no other
        log.exception("the region could not answer")
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__), reply_to=message)
