"""How far a forecaster looks ahead: a version that answers less than the served one must not take its place unnoticed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Horizon:
    """Steps of a forecast, and the seconds of one."""

    steps: int
    step_seconds: int

    @property
    def seconds(self) -> int:
        return self.steps * self.step_seconds

    def __str__(self) -> str:
        return f"{self.steps} steps ({self.seconds // 60} minutes)"


def of(graph: Path) -> Horizon | None:
    """Return the horizon that a graph's metadata say; None for a graph that is no forecaster, or none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(graph, load_external_data=False)
        known = {entry.key: entry.value for entry in model.metadata_props}
        return Horizon(int(known["fleetml.horizon"]), int(known["fleetml.step_seconds"]))
    except (OSError, ValueError, KeyError, DecodeError):
        return None


def shortened(served: Path, other: Path) -> tuple[Horizon, Horizon] | None:
    """Return the horizons of two graphs where that of `other` is the shorter one, else None."""
    before, after = of(served), of(other)
    return (before, after) if before and after and after.seconds < before.seconds else None
