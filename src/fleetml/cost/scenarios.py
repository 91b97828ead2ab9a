"""One measured run of a workload, and what a results file holds of them. `results_files` reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from fleetml.cost import quantities
from fleetml.frozen import frozen


@frozen
class Output:
    """One rung of an output ladder: pixels and frames a second."""

    width: int
    height: int
    fps: float


@frozen(kw_only=True)
class Scenario:
    """One measured run of a workload. None and () stand for what is not known.

    bitrate: as written ("2500k"), for labels; mbps: the same of one stream [Mbit/s].
    resolution, fps: as the file says; outputs: the ladder, one rung where only these two are given.
    duration: [s], end_time - start_time where both are known, else what the file says.
    start_time, end_time: [UNIX s]. viewers: people. vmaf_score: 0 to 100; psnr_score: [dB]; ssim_score: 0 to 1.
    power_watts [W], cpu_usage_cores, gpu_usage_cores [cores]: samples, step_seconds [s] apart.
    mean_power_w [W], total_energy_wh [Wh]: measured elsewhere, where samples are missing.
    refused: the fields that the file gives, but wrong; absent like those that it does not give.
    """

    name: str
    streams: int | None = None
    bitrate: str | None = None
    mbps: float | None = None
    resolution: str | None = None
    fps: float | None = None
    outputs: tuple[Output, ...] = ()
    duration: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    encoder: str | None = None
    encoder_type: str | None = None
    preset: str | None = None
    viewers: int | None = None
    vmaf_score: float | None = None
    psnr_score: float | None = None
    ssim_score: float | None = None
    avg_fps: float | None = None
    dropped_frames: int | None = None
    total_frames: int | None = None
    power_watts: tuple[float, ...] = ()
    cpu_usage_cores: tuple[float, ...] = ()
    gpu_usage_cores: tuple[float, ...] = ()
    step_seconds: float | None = None
    mean_power_w: float | None = None
    total_energy_wh: float | None = None
    refused: frozenset[str] = frozenset()

    @property
    def is_baseline(self) -> bool:
        """Whether this is the idle machine, by its name."""
        return quantities.is_idle(self.name)

    @property
    def stream_count(self) -> int:
        """Streams at once; a name that tells no number of them is of one."""
        return 1 if self.streams is None else self.streams

    @property
    def mean_watts(self) -> float | None:
        """The mean power [W]: of the samples, else as measured elsewhere."""
        return math.fsum(self.power_watts) / len(self.power_watts) if self.power_watts else self.mean_power_w

    def covers(self, samples: Sequence[float]) -> bool:
        """Return whether samples span the scenario's time, to a tenth or to less than a sample; True where one of the two is not known.

        A span that falls between two samples lacks less than one of them; who lacks a whole one measured a part alone.
        """
        if self.step_seconds is None or self.duration is None:
            return True
        spanned = (len(samples) - 1) * self.step_seconds
        off = round(abs(spanned - self.duration), 3)  # of differences of UNIX times the rest is noise
        return off < self.step_seconds or off <= self.duration / 10

    @property
    def pixels_per_second(self) -> float | None:
        """Σ width x height x fps over the outputs; an idle machine delivers none."""
        if not self.outputs or self.is_baseline:
            return None
        return sum(each.width * each.height * each.fps for each in self.outputs)

    @property
    def pixels(self) -> float | None:
        """Σ width x height x fps x duration over the outputs, of one stream: what the catalogue calls total pixels."""
        rate = self.pixels_per_second
        return rate * self.duration if rate and self.duration else None

    @property
    def ladder(self) -> str | None:
        """The output ladder, largest first: ``1920x1080@30,1280x720@30``. Scores compare within one alone."""
        rungs = sorted(self.outputs, key=lambda it: (it.width * it.height, it.width, it.fps), reverse=True)
        return ",".join(f"{it.width}x{it.height}@{it.fps:g}" for it in rungs) or None


@frozen
class Results:
    """What a results file holds: its name without ending, its date as written, its scenarios, what is wrong with it."""

    run_id: str
    test_date: str | None
    scenarios: tuple[Scenario, ...]
    remarks: tuple[str, ...] = ()

    @property
    def when(self) -> float:
        """When it was measured [s since the epoch]: its date, without an offset in UTC; else its last scenario's end; else 0."""
        try:
            date = datetime.fromisoformat(self.test_date or "")
        except ValueError:
            return max((each.end_time or 0.0 for each in self.scenarios), default=0.0)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()

    @property
    def baseline(self) -> Scenario | None:
        """The first idle measurement whose power is known."""
        return next((it for it in self.scenarios if it.is_baseline and it.mean_watts), None)
