"""Ends a run that another process runs: asks its engine first, and ends that if it does not answer."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from fleetml.engines import record
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.records import Run

_LOOK = 0.05  # s between looks


def stop(records: Run, patience: float = 30.0) -> str:
    """Stop a run and all its steps; return its state then. It waits `patience` seconds for the engine to do so itself.

    Raises Unavailable for a run whose engine neither answers nor is a process that can be ended from here.
    """
    deadline = time.monotonic() + patience
    while records.held_by_another():
        if time.monotonic() > deadline:
            _kill(records)
            break
        records.ask_to_stop()
        time.sleep(_LOOK)
    with contextlib.suppress(ConfigurationError), records.held():  # refused: somebody goes on with it already
        end_strays()
        if records.read()["state"] == "running":
            record.end(records, "cancelled")
    return records.state()


def end_strays() -> None:
    """End what steps of engines that died left running on this machine; Linux ends only the steps themselves."""
    import tempfile

    from fleetml.runners import strays

    strays.sweep(Path(tempfile.gettempdir()))


def _kill(records: Run) -> None:
    import psutil

    pid = records.read().get("pid", 0)
    try:
        engine = psutil.Process(pid)
        if not any(Path(file.path).samefile(records.lock) for file in engine.open_files()):
            raise psutil.NoSuchProcess(pid)
        family = [engine, *engine.children(recursive=True)]
    except (psutil.Error, OSError):
        raise Unavailable(
            f"run {records.run_id} is run by a process that does not answer, and that cannot be ended from here "
            "(another machine, container or user); stop it there"
        ) from None
    for process in family:  # the engine first, or it would take its steps' end for a failure
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=10)
