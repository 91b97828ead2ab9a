"""A results file (``test_results_*.json``) -> its `Results`.

What is wrong is told (`Results.remarks`), and what depends on it is absent (None, ()), never guessed:

| found | result |
|---|---|
| a file that is no JSON (half-written), or has no list ``scenarios`` | InvalidData; whoever watches a folder keeps what it had |
| a scenario without a name, or with the name of an earlier one | told, left out |
| scenarios that overlap in time | told, all of them left out: the machine's power then belongs to none of them |
| a field that is missing, null or "N/A" | absent |
| a field of another kind (``fps: "fast"``), VMAF above 100, times that do not ascend | told, absent |
| a duration that contradicts the times by more than a tenth | told, absent |
| a sample that is NaN, null, negative, or power of 0 W | told, its whole series is absent |
| one output of a ladder is wrong | told, the ladder is unknown: a part of the pixels would be a wrong number |
| samples that cover less or more time than the scenario took | told; their integral is absent, their mean is not |
| more dropped frames than frames | told, both are absent |
| no scenario named "baseline" or "idle" | `Results.baseline` is None; what is compared with it is absent |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fleetml.cost import quantities
from fleetml.cost.scenarios import Output, Results, Scenario
from fleetml.errors import InvalidData
from fleetml.frozen import replace

T = TypeVar("T")

PATTERN = "test_results_*.json"
"""The names of results files."""


def read(path: Path) -> Results:
    """Return what a results file holds. Raises InvalidData for a file that cannot be read as one, half-written say."""
    try:
        return parse(path.read_bytes(), path.name)
    except OSError as error:
        raise InvalidData(
            f"results are files that can be read, got {path}: {error.strerror}; mend or remove it"
        ) from error


def parse(content: bytes | str, name: str) -> Results:
    """Return what a results file of this name and content holds. Raises InvalidData, see the table above."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidData(
            f"results are JSON, got {name}, which is none ({error}); if it is being written, it is read when it is complete"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("scenarios"), list):
        raise InvalidData(f'results are an object with a list "scenarios", got {name}, which has none; write one')
    remarks: list[str] = []
    known = _distinct(_scenarios(found["scenarios"], name, remarks), name, remarks)
    date = found.get("test_date")
    return Results(
        Path(name).stem, date if isinstance(date, str) else None, _apart(known, name, remarks), tuple(remarks)
    )


def scenario(facts: Mapping[str, Any], place: str, remarks: list[str]) -> Scenario | None:
    """Return one scenario of its mapping, None without a name; what is wrong is added to `remarks`, with its place."""
    name = facts.get("name")
    if not isinstance(name, str) or not name.strip():
        remarks.append(f"{place}: a scenario has a name, got {name!r}; it is left out, give it one")
        return None
    return _Facts(facts, f"{place} ({name.strip()!r})", remarks).scenario(name.strip())


def _scenarios(found: Sequence[Any], name: str, remarks: list[str]) -> Iterable[Scenario]:
    for index, facts in enumerate(found):
        place = f"{name}, scenario {index}"
        if not isinstance(facts, dict):
            remarks.append(f"{place}: a scenario is an object, got {type(facts).__name__}; it is left out")
        elif (known := scenario(facts, place, remarks)) is not None:
            yield known


def _distinct(found: Iterable[Scenario], name: str, remarks: list[str]) -> list[Scenario]:
    kept: dict[str, Scenario] = {}
    for each in found:
        label = each.name.replace(" ", "_")  # what exporters call it
        if label in kept:
            remarks.append(f"{name}: names are given once, got {each.name!r} again; the later is left out, rename it")
        else:
            kept[label] = each
    return list(kept.values())


def _apart(found: Sequence[Scenario], name: str, remarks: list[str]) -> tuple[Scenario, ...]:
    """Return the scenarios that overlap with none, in their order."""
    timed = [(it.start_time, it.end_time, it.name) for it in found if it.start_time is not None]
    timed.sort()
    mixed: set[str] = set()
    last: tuple[Any, Any, str] | None = None
    for start, end, each in timed:
        if last is not None and start < last[1]:
            mixed |= {each, last[2]}
            remarks.append(
                f"{name}: scenarios are measured one after the other, got {last[2]!r} and {each!r} at the same time; "
                "both are left out, as the power is of both, measure them apart"
            )
        if last is None or end > last[1]:
            last = (start, end, each)
    return tuple(it for it in found if it.name not in mixed)


class _Facts:
    """The fields of one scenario, read one by one; what is wrong is told with its place."""

    def __init__(self, facts: Mapping[str, Any], place: str, remarks: list[str]) -> None:
        self.facts, self.place, self.remarks = facts, place, remarks
        self.refused: set[str] = set()

    def get(self, key: str, parse: Callable[[Any], T]) -> T | None:
        value = self.facts.get(key)
        if value is None or (isinstance(value, str) and quantities.text(value) is None):  # "N/A"
            return None
        try:
            return parse(value)
        except ValueError as error:
            shown = "" if isinstance(value, (list, dict)) else f" {value!r}"
            self.tell(f"{key}{shown} {error}; it and what needs it are absent", key)
            return None

    def tell(self, wrong: str, *keys: str) -> None:
        self.remarks.append(f"{self.place}: {wrong}")
        self.refused.update(keys)

    def scenario(self, name: str) -> Scenario:
        start, end = self.span()
        mbps = self.get("bitrate", quantities.mbps)
        dropped, frames = self.frames()
        known = Scenario(
            name=name,
            streams=quantities.streams(name),
            bitrate=None if mbps is None else str(self.facts["bitrate"]).strip(),
            mbps=mbps,
            resolution=self.get("resolution", lambda it: it.strip() if quantities.resolution(it) else None),
            fps=self.get("fps", quantities.frame_rate),
            outputs=self.outputs(),
            duration=self.duration(start, end),
            start_time=start,
            end_time=end,
            encoder=self.get("encoder", quantities.text),
            encoder_type=self.get("encoder_type", quantities.text),
            preset=self.get("preset", quantities.text),
            viewers=self.get("viewers", quantities.count),
            vmaf_score=self.get("vmaf_score", quantities.percentage),
            psnr_score=self.get("psnr_score", quantities.positive),
            ssim_score=self.get("ssim_score", quantities.share),
            avg_fps=self.get("avg_fps", quantities.from_zero),
            dropped_frames=dropped,
            total_frames=frames,
            power_watts=self.get("power_watts", lambda it: quantities.samples(it, zero=False)) or (),
            cpu_usage_cores=self.get("cpu_usage_cores", lambda it: quantities.samples(it, zero=True)) or (),
            gpu_usage_cores=self.get("gpu_usage_cores", lambda it: quantities.samples(it, zero=True)) or (),
            step_seconds=self.get("step_seconds", quantities.positive),
            mean_power_w=self.get("mean_power_w", quantities.positive),
            total_energy_wh=self.get("total_energy_wh", quantities.positive),
        )
        self.cover(known)
        return replace(known, refused=frozenset(self.refused))

    def span(self) -> tuple[float | None, float | None]:
        start, end = self.get("start_time", quantities.from_zero), self.get("end_time", quantities.from_zero)
        if start is not None and end is not None and end > start:
            return start, end
        if start is not None and end is not None:
            self.tell(f"start_time {start} is not before end_time {end}; both are absent", "start_time", "end_time")
        return None, None

    def duration(self, start: float | None, end: float | None) -> float | None:
        """Return what the times say; None where the file says another duration, by more than a tenth and two seconds."""
        said = self.get("duration", quantities.positive)
        if start is None or end is None or "duration" in self.refused:
            return said
        took = end - start
        if said is not None and abs(took - said) > max(2.0, said / 10):
            self.tell(
                f"duration {said:g} s contradicts end_time - start_time, {took:g} s; what needs it is absent",
                "duration",
            )
            return None
        return took

    def frames(self) -> tuple[int | None, int | None]:
        """Return the dropped frames and all of them; None for both where these are fewer."""
        dropped, frames = self.get("dropped_frames", quantities.count), self.get("total_frames", quantities.count)
        if dropped is None or frames is None or dropped <= frames:
            return dropped, frames
        self.tell(
            f"dropped_frames {dropped} is above total_frames {frames}; both are absent",
            "dropped_frames",
            "total_frames",
        )
        return None, None

    def outputs(self) -> tuple[Output, ...]:
        """Return the ladder; of one rung where the file gives a resolution and a rate alone; () where one is wrong."""
        ladder = self.facts.get("outputs")
        if ladder in (None, []):
            alone = self.rung(self.facts)
            return (alone,) if alone else ()
        rungs = (
            [self.rung(it) if isinstance(it, dict) else None for it in ladder] if isinstance(ladder, list) else [None]
        )
        if all(rungs):
            return tuple(it for it in rungs if it)
        self.tell("outputs are a list of objects with resolution and fps; what needs pixels is absent", "outputs")
        return ()

    @staticmethod
    def rung(facts: Mapping[str, Any]) -> Output | None:
        try:
            size, fps = quantities.resolution(facts.get("resolution", "")), quantities.frame_rate(facts.get("fps", ""))
        except ValueError:
            return None
        return Output(*size, fps) if size and fps else None

    def cover(self, known: Scenario) -> None:
        """Tell of samples without a step, and of those that cover another time than the scenario's."""
        for key in ("power_watts", "cpu_usage_cores", "gpu_usage_cores"):
            values, step = getattr(known, key), known.step_seconds
            if values and step is None:
                self.tell(f"{key} needs step_seconds; integrals over it are absent")
            elif values and step and not known.covers(values):
                spanned = (len(values) - 1) * step
                self.tell(f"{key} covers {spanned:g} s of {known.duration:g} s; integrals over it are absent")
