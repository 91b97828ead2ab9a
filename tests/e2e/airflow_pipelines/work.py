"""What the steps of the pipelines in this folder do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fleetml.component import Artifact
from fleetml.errors import InvalidData


def twice(n: int, metrics: Artifact) -> dict[str, Any]:
    print(f"doubling {n}")
    metrics.path.touch()
    metrics.log(doubled=2 * n, half=n / 2, name="two", fourth="not shown")
    return {"result": 2 * n}


def stumble(folder: str, times: int) -> dict[str, Any]:
    """Fail as often as `times` says, then succeed."""
    tries = Path(folder, "tries")
    count = int(tries.read_text()) if tries.exists() else 0
    tries.write_text(str(count + 1))
    if count < times:
        raise ValueError(f"stumbled over column 'cpu' ({count})")
    return {"result": count}


def tell() -> dict[str, Any]:
    """Print the step's secrets in all ways, also split over lines."""
    for secret in (os.environ["TOKEN"], os.environ["PASSWORD"]):
        print(secret, repr(secret), quote(secret, safe=""))
        print(f"begins {secret[:7]}\n{secret[7:]} ends", flush=True)
    return {"result": len(os.environ["TOKEN"])}


def spill() -> dict[str, Any]:
    return {"result": f"it is {os.environ['PASSWORD']}"}


def refuse(n: int) -> None:
    raise InvalidData(f"n must be even, got {n}; give another")


def linger(folder: str) -> None:
    """Stay, with a child, until killed; leave both process ids in `folder`."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("lingering", flush=True)
    Path(folder, "pids").write_text(f"{__import__('os').getpid()} {child.pid}")
    time.sleep(600)


def cling(folder: str, stays: bool) -> None:
    """Leave a child in a session of its own that hears no SIGTERM, as its parent does not; end at once, or stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(folder, "pids").write_text(f"{os.getpid()} {child.pid}")
    if stays:
        time.sleep(600)


def measure(score: float) -> dict[str, Any]:
    return {"drifted": score > 0.5}


def event(score: float) -> dict[str, Any]:
    return {"event": {"features": {"cpu_usage": score}, "score": score}}


def listed(count: int) -> dict[str, Any]:
    return {"numbers": list(range(count))}


def visit(folder: str, number: int) -> dict[str, Any]:
    """Leave a line for each visit."""
    with Path(folder, "visits").open("a") as stream:
        stream.write(f"{number}\n")
    return {"result": number}


def stumble_at(folder: str, number: int, times: int) -> dict[str, Any]:
    """Stumble at number 1 only."""
    return stumble(folder, times) if number == 1 else {"result": number}
