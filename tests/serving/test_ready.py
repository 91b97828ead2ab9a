from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fleetml.serving import deployment
from fleetml.serving.options import Access
from fleetml.stack import ports
from fleetml.stack.processes import wait_until


def ready(port: int | str) -> int:
    return subprocess.run([sys.executable, "-m", "fleetml.serving.ready", str(port)], timeout=60).returncode


def test_a_server_that_speaks_tls_is_as_ready_as_one_that_does_not(
    tmp_path: Path, certificate: Access, serve: Callable[..., str]
) -> None:
    for name, access in (("plain", Access()), ("tls", certificate)):
        root = tmp_path / name
        serve(root, access=access)
        port = deployment.status(root)["http"].split(":")[1]
        assert wait_until(lambda port=port: ready(port) == 0, 60), name  # a busy machine may take longer than one look


def test_where_nobody_listens_none_is_ready() -> None:
    assert ready(ports.free()) == 1
