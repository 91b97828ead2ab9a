"""Flower's grid to a real SuperLink: this process is the ServerApp, and it drives the rounds.

Flower starts a ServerApp by sending its code to the SuperLink, whose executor runs it. Nothing of ours is sent: the run's
bundle holds a configuration and no code, and the task that the SuperLink would hand to an executor is taken here.
Flower's own grid asks for answers every three seconds and ends the process when the link does not know it any more.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import os
import secrets
import threading
import time
import zipfile
from collections.abc import Iterable
from contextlib import suppress

import httpx
from flwr.app import DEFAULT_TTL, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import run_from_proto
from flwr.proto.control_pb2 import StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents, pull_objects
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from components.federated.envelope import opened, sealed
from components.federated.records import ABOUT
from components.federated.transport import PULL_SECONDS, REFUSED, Bearer, named, pause, retries
from fleetml.errors import ConfigurationError

log = logging.getLogger(__name__)

VARIABLES = {"driver": "FLEETML_FEDERATION_DRIVER", "authority": "FLEETML_FEDERATION_AUTHORITY"}
"""Of the step's environment, by the keys of the secret `federation` that they hold."""
PATIENCE = 120.0
"""Seconds for which a link may be away, being started again, before who asks it gives up."""
HEARTBEAT_SECONDS = 10.0


class SuperLinkGrid(HttpGrid):
    """A run on a SuperLink, from here.

    `authority` is the PEM certificate that the link's is signed by, `driver` the secret of who may start runs. A region has
    the same id for ever, made of its name. Where the link was started again it has lost the run and its nodes have other
    numbers: another run is begun, and what waits for an answer is sent again. Close it, or the run stands as running until
    the link misses its heartbeat: use it in a `with`.
    """

    def __init__(self, address: str, authority: bytes, driver: str, patience: float = PATIENCE) -> None:
        """Begin a run. Raises Unavailable, ConfigurationError."""
        self._place, self._authority, self._driver, self._patience = address, authority, driver, patience
        self._nodes: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._ended = threading.Event()
        self._begin()
        self._beat = threading.Thread(target=self._heartbeat, daemon=True)
        self._beat.start()

    @classmethod
    def of_environment(cls, address: str) -> SuperLinkGrid:
        """Begin a run with what the step was given of the secret `federation`. Raises ConfigurationError, Unavailable."""
        given = {key: os.environ.get(variable, "").strip() for key, variable in VARIABLES.items()}
        if missing := [key for key, value in given.items() if not value]:
            raise ConfigurationError(
                f"real regions need the secret 'federation', key {' and '.join(map(repr, missing))} of it is not there; set "
                f"{' and '.join(f'FLEETML_SECRET_FEDERATION_{key.upper()}' for key in missing)} to what driver.secret and "
                "authority.pem of the link's folder hold, on Airflow a Connection or Variable 'federation'"
            )
        return cls(address, given["authority"].encode(), given["driver"])

    def __enter__(self) -> SuperLinkGrid:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def regions(self) -> dict[int, str]:
        """Return the names of the regions whose nodes are there, by id: the link's, not what a node says of itself."""
        try:
            there = self.get_nodes()
        except httpx.HTTPError as error:
            self._renew(error)
            there = self.get_nodes()
        self._nodes = {number(node.name): node.node_id for node in there}
        self._names |= {number(node.name): node.name for node in there}
        return {known: self._names[known] for known in sorted(self._nodes, key=lambda each: self._names[each])}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.regions())

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the answers that came within `timeout` seconds (None: wait for all), errors among them, each from its region.

        A message is worth nothing after its time: a node that was away then does not get it. Raises Unavailable,
        ConfigurationError.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        unsent, waiting, heard = {m.metadata.dst_node_id: m for m in messages}, dict[str, int](), time.monotonic()
        asked, found = dict(unsent), list[Message]()
        while (unsent or waiting) and time.monotonic() < end:
            try:
                waiting |= self._sent(unsent, end)
                answers = list(self.pull_messages(waiting)) if waiting else []
            except httpx.HTTPError as error:
                self._renew(error)
                unsent, waiting = {region: asked[region] for region in (*unsent, *waiting.values())}, {}
                continue
            for answer in answers:
                found.append(self._of(waiting.pop(answer.metadata.reply_to_message_id), answer))
            heard = time.monotonic() if answers else heard
            if unsent or waiting:
                time.sleep(pause(heard))
        return found

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the answers that are there."""
        response = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=list(message_ids)))
        pairs = zip(response.messages_list, response.message_object_trees, strict=True)
        return [self._pulled(each.metadata.message_id, each.metadata.reply_to_message_id, tree) for each, tree in pairs]

    def close(self) -> None:
        """End the run; answers that are still on their way are refused by the link."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._beat.join()
        with suppress(httpx.HTTPError), self._control(patience=1.0) as control:
            control.StopRun(StopRunRequest(run_id=self.run.run_id))
        super().close()

    def _begin(self) -> None:
        """Have a run and its task of the link's, and be its ServerApp."""
        try:
            token = self._task()
            super().__init__(self._place, root_certificates=self._authority, token=token)
            self._retry_invoker = retries(self._patience)
            given = self._runtime_client.PullTaskInput(PullTaskInputRequest())
        except httpx.HTTPError as error:
            raise named(error, self._place) from error
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        self.set_run(run_from_proto(given.run))
        log.info("run %d on the link at %s", given.run.run_id, self._place)

    def _task(self) -> str:
        """Start a run; return the token of its one task, asked for by its bundle, so that nobody else's is taken."""
        content = _bundle()
        name = hashlib.sha256(content).hexdigest()
        with self._control(self._patience) as control:
            control.StartRun(StartRunRequest(fab=Fab(hash_str=name, content=content)))
        signed = SuperExecAuthHttpInterceptor(
            master_secret=self._driver.encode(), protected_methods={"/flwr.proto.Runtime/AcquireTask"}
        )
        versioned = RuntimeVersionHttpInterceptor(component_name="SuperExec")
        with RuntimeHttpClient.from_server_address(
            self._place, False, self._authority, interceptors=[versioned, signed], retry_invoker=retries(self._patience)
        ) as client:
            return str(client.AcquireTask(AcquireTaskRequest(agentapp_fab_hashes=[name])).token)

    def _control(self, patience: float) -> ControlHttpClient:
        shown: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="fleetml"),
            Bearer(self._driver),
        ]
        return ControlHttpClient.from_server_address(
            self._place, False, self._authority, interceptors=shown, retry_invoker=retries(patience)
        )

    def _heartbeat(self) -> None:
        """Tell the link that we live; what it answers matters to who asks it for something."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(httpx.HTTPError, RuntimeError):  # closed between two runs
                self._runtime_client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    def _renew(self, error: httpx.HTTPError) -> None:
        """Begin another run where the link has lost ours. Raises what `named` says of anything else."""
        if not (isinstance(error, httpx.HTTPStatusError) and error.response.status_code in REFUSED):
            raise named(error, self._place) from error
        log.warning("the link at %s has lost the run, another is begun", self._place)
        self._disconnect()
        self._begin()
        self._nodes = {}

    def _sent(self, unsent: dict[int, Message], end: float) -> dict[str, int]:
        """Send what is for regions that are there, and take it out; return the regions by the messages' ids."""
        if not unsent:
            return {}
        self._nodes or self.regions()
        going = {region: message for region, message in unsent.items() if region in self._nodes}
        if not going:
            self._nodes = {}
            return {}
        left = max(end - time.monotonic(), 1.0)
        contents = {id(each.content): sealed(each.content) for each in going.values()}
        wired = [self._wired(region, each, contents[id(each.content)], left) for region, each in going.items()]
        ids = self.push_messages(wired)
        for region in going:
            del unsent[region]
        return dict(zip(ids, going, strict=True))

    def _wired(self, region: int, message: Message, content: RecordDict, left: float) -> Message:
        """Return a message as it goes to the region's node of now, worth something for `left` seconds."""
        metadata = copy.copy(message.metadata)
        metadata.__dict__.update(
            _run_id=self.run.run_id,
            _dst_node_id=self._nodes[region],
            _message_id="",
            _created_at=time.time(),
            _ttl=min(left, DEFAULT_TTL),
        )
        return make_message(metadata=metadata, content=content)

    def _of(self, region: int, answer: Message) -> Message:
        """Return the answer as its region's, whoever speaks for it: the link does where the node is gone."""
        answer.metadata.__dict__["_src_node_id"] = region
        if answer.has_content() and ABOUT in answer.content.config_records:
            said = answer.content.config_records[ABOUT].get("region")
            if said != self._names[region]:
                reason = f"the node of region {self._names[region]!r} says that it is {said!r}"
                return _failed(answer.metadata.reply_to_message_id, reason, region)
        return answer

    def _pulled(self, name: str, reply_to: str, tree: ObjectTree) -> Message:
        """Return one answer; an error in its place where it is not whole in time, or not what it says to be."""
        client, run = self._runtime_client, self.run.run_id
        try:
            contents = pull_objects(
                [each.object_id for each in iterate_object_tree(tree)],
                make_pull_object_fn_protobuf(client.PullObject, self.node, run),
                max_time=PULL_SECONDS,
                initial_backoff=0.1,
                backoff_cap=1.0,
            )
            answer = inflate_object_from_contents(name, contents)
            if not isinstance(answer, Message):
                raise TypeError(f"it is a {type(answer).__name__}")
            if answer.has_content():
                answer.content = opened(answer.content)
        except (ObjectPullError, TypeError, ValueError, KeyError, AttributeError) as error:
            return _failed(reply_to, f"its answer cannot be read: {error}")
        client.ConfirmMessageReceived(ConfirmMessageReceivedRequest(node=self.node, run_id=run, message_object_id=name))
        answer.metadata.__dict__.update(_message_id=name, _reply_to_message_id=reply_to)
        return answer


def number(region: str) -> int:
    """Return the id of a region, the same on every link."""
    return int.from_bytes(hashlib.sha256(region.encode()).digest()[:7])


def _bundle() -> bytes:
    """Return what Flower calls an app: here a configuration without code, another for each run."""
    text = (
        f'[project]\nname = "federated-forecaster"\nversion = "1.0.0"\ndescription = "{secrets.token_hex(8)}"\n'
        '[tool.flwr.app]\npublisher = "fleetml"\nfab-format-version = 0\n'
        '[tool.flwr.app.components]\nserverapp = "nothing.is:sent"\nclientapp = "nothing.is:sent"\n'
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("pyproject.toml", text)
    return packed.getvalue()


def _failed(reply_to: str, reason: str, region: int = 0) -> Message:
    metadata = Metadata(
        run_id=0,
        message_id="",
        src_node_id=region,
        dst_node_id=0,
        reply_to_message_id=reply_to,
        group_id="",
        created_at=time.time(),
        ttl=0,
        message_type=SYSTEM_MESSAGE_TYPE,
    )
    return make_message(metadata=metadata, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason=reason))
