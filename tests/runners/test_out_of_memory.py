"""Steps that the kernel kills because memory ran out: told as that, not as a signal that anybody may have sent."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetml.images import Images
from fleetml.runners import Command, Exit, Limits, Usage
from fleetml.runners.out_of_memory import Kills, family, resident
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step.failure import ended_words

LIMIT, NONE = 64 << 20, Limits()
KINDS = {"memory": "memory.limit_in_bytes", "": "memory.max"}  # cgroup v1, v2


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of its own with a limit of memory."""
    for folder, limit in KINDS.items():
        place = Path("/sys/fs/cgroup", folder, f"fleetml-test-{os.getpid()}")
        try:
            place.mkdir()
        except OSError:
            continue
        with contextlib.suppress(OSError):
            (place / limit).write_text(str(LIMIT))
            for swap in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                with contextlib.suppress(OSError):
                    (place / swap).write_text(str(0 if swap.endswith("max") else LIMIT))
            yield place
            place.rmdir()
            return
        place.rmdir()
    pytest.skip("no control group with a limit of memory can be made here")


def go(project: Settings, script: str, limits: Limits = NONE) -> Exit:
    command = Command(("sh", "-c", script), Images(project.project).resolve("fleetml/ml"), limits=limits)
    return SubprocessRunner(grace=0.5).run(command, print, threading.Event())


@pytest.mark.parametrize("before", ["exec ", ""])
def test_a_step_that_the_kernel_kills_is_out_of_memory(project: Settings, group: Path, before: str) -> None:
    ended = go(project, f"echo $$ > {group}/cgroup.procs; {before}python -c 'bytearray(1 << 30)'; exit $?")
    assert ended.ended == "memory"
    told = ended_words(ended, Limits())
    assert told.startswith("killed by the system, which had no memory left (it had ")
    assert "run fewer steps at once (--workers)" in told


def test_a_step_that_somebody_kills_is_not(project: Settings) -> None:
    ended = go(project, "kill -9 $$")
    assert (ended.ended, str(ended)) == ("itself", "killed by SIGKILL")


def test_a_step_over_its_limit_is_told_the_limit_and_the_remedy(project: Settings) -> None:
    ended = go(project, "exec python -c 'x = bytearray(1 << 28); input() or open(0)' < /dev/zero", Limits(memory=LIMIT))
    assert ended.ended == "memory"
    told = ended_words(ended, Limits(memory=LIMIT))
    assert told.startswith("over its memory limit of 67.1 MB (it had ")
    assert told.endswith("; raise that (set_memory_limit), or let it need less")


def test_a_time_limit_is_told_too() -> None:
    told = ended_words(Exit(-9, Usage(), "timeout"), Limits(seconds=90))
    assert told == "over its time limit of 90 s; raise that (kubernetes.set_timeout), or let it do less"


@pytest.mark.parametrize(("status", "counted", "ended"), [(-9, 1, True), (137, 1, True), (-9, 0, False), (1, 1, False)])
def test_only_who_was_killed_while_the_count_rose_is_one_of_them(
    tmp_path: Path, status: int, counted: int, ended: bool
) -> None:
    told = tmp_path / "vmstat"
    told.write_text("nr_free_pages 12\noom_kill 7\n")
    kills = Kills(told)
    told.write_text(f"nr_free_pages 12\noom_kill {7 + counted}\n")
    assert kills.ended(status) is ended
    kills.look()
    assert not kills.ended(status)


def test_a_kernel_that_does_not_count_knows_of_none(tmp_path: Path) -> None:
    assert not Kills(tmp_path / "none").ended(-9)


def test_what_is_resident() -> None:
    assert 0 < resident(os.getpid()) <= family(os.getpid())
    assert resident(-1) == family(2**22 + 1) == 0
