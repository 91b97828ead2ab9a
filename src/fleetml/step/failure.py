"""Why a step failed, found where the step left it and told in at most ten lines."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleetml.frozen import frozen
from fleetml.runners import Exit, Limits

_LONGEST = 10_000  # characters of a message that are kept
_WIDTH = 400  # characters of a message that are shown; the log has all of it
_FRAME = r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+)'
_FOREIGN = r"/lib/python\d|/site-packages/|^<"  # not the user's own code
_RAISED = r"(?P<type>(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt|Warning))(?:: (?P<message>.*))?"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value[:_LONGEST].encode(errors="replace").decode()


# What `fleetml.component` writes; a stranger's step may write anything.
_SHAPES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("type", "message", "file"), _text),
    "line": int,
    "user_error": bool,
}


@frozen
class Failure:
    """Why a step failed. `file` and `line` point into the user's code, "" and 0 when unknown.

    `user_error`: the message is meant for the user as it stands (a `FleetMLError`). `tail`: the last lines of
    the log, where nothing better is known. `inputs`: the step's inputs, shortened, for people.
    """

    step: str
    type: str
    message: str
    file: str = ""
    line: int = 0
    user_error: bool = False
    tail: tuple[str, ...] = ()
    inputs: str = ""
    log: str = ""
    resume: str = ""

    @property
    def worth_a_retry(self) -> bool:
        """A user's mistake stays one however often it is tried; what was not available may be so later."""
        return not self.user_error or self.type == "Unavailable"

    def report(self) -> list[str]:
        """Return at most ten lines for a person: step, message, place, inputs, log, how to resume.

        A resumed run has the parameters it had: where one of them is wrong, resuming is no way out.
        """
        what = self.message if self.user_error else ": ".join(filter(None, (self.type, self.message)))
        lines = [f"step '{self.step}' failed: {_short(what)}"]
        lines += (
            [f"  at      {self.file}:{self.line}"] if self.file else [f"  | {_short(line)}" for line in self.tail[-4:]]
        )
        lines += [f"  inputs  {_short(self.inputs)}"] if self.inputs else []
        lines += [f"  log     {self.log}"] if self.log else []
        lines += [f"  resume  {self.resume}"] if self.resume and self.type != "InvalidParameter" else []
        return lines


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _WIDTH else flat[: _WIDTH - 1] + "…"


def ended_words(exit: Exit, limits: Limits) -> str:
    """Say how a command ended and, where a limit did it, which that was and what to do."""
    from fleetml.report.text import size  # here, as most steps end well

    peak = f" (it had {size(exit.usage.max_rss_bytes)} at most)" if exit.usage.max_rss_bytes else ""
    if exit.ended == "memory" and limits.memory is not None:
        return (
            f"over its memory limit of {size(limits.memory)}{peak}; raise that (set_memory_limit), or let it need less"
        )
    if exit.ended == "memory":
        return (
            f"killed by the system, which had no memory left{peak}; run fewer steps at once (--workers), let it need less, "
            "or take a larger machine"
        )
    if exit.ended == "timeout" and limits.seconds is not None:
        return f"over its time limit of {limits.seconds:g} s; raise that (kubernetes.set_timeout), or let it do less"
    return str(exit)


def of_process(folder: Path, log: Path, ended: str) -> dict[str, Any]:
    """Return type, message, file, line, user_error, tail of a failed process.

    Known from the ``failure.json`` that `fleetml.component` leaves in `folder`, else from the end of the log;
    `ended` says how the process ended.
    """
    told = folder / "failure.json"
    try:
        found = json.loads(told.read_bytes()) if told.is_file() else {}
        known = {name: shape(found[name]) for name, shape in _SHAPES.items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _of_log(log, ended)
    return known


def _of_log(log: Path, ended: str) -> dict[str, Any]:
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            tail = [line.rstrip("\n") for line in deque(lines, maxlen=40) if line.strip()]
    except OSError:
        tail = []
    raised = re.fullmatch(_RAISED, tail[-1].strip()) if tail and ended.startswith("exit status") else None
    if raised is None:
        return {"type": "", "message": ended, "tail": tuple(tail)}
    frames = [match for line in tail if (match := re.match(_FRAME, line))]
    own = [frame for frame in frames if not re.search(_FOREIGN, frame["file"])]
    place = {"file": own[-1]["file"], "line": int(own[-1]["line"])} if own else {"tail": tuple(tail)}
    return {"type": raised["type"], "message": raised["message"] or "", **place}


def shown_inputs(inputs: Mapping[str, Any]) -> str:
    """Return inputs as one line: ``alpha=0.3, train=/…/train``; long values shortened."""
    return ", ".join(f"{name}={_brief(value)}" for name, value in inputs.items())


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:40] + "…" + text[-16:]
