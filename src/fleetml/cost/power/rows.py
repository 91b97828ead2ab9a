"""What a power model learns from: rows of features with the power that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleetml.cost.scenarios import Scenario
from fleetml.frozen import field, frozen

Value = float | str | None
NUMBERS = ("streams", "mbps", "megapixels", "fps")
"""Streams at once; of one stream: bitrate [Mbit/s], pixels of a frame of all its outputs [Mpx], frames a second."""
WORDS = ("encoder", "hardware")


@frozen
class Row:
    """One measurement: features by name (`NUMBERS`, `WORDS`; None where not known) and the mean power [W].

    counted: whether the streams were counted, and not taken for one or for an idle machine's none.
    """

    watts: float
    features: Mapping[str, Value] = field(default_factory=dict)
    counted: bool = True


def features(scenario: Scenario, hardware: str | None = None) -> dict[str, Value]:
    """Return the features of a scenario; `hardware` None: its encoder type. An idle machine has no streams, bits or pixels.

    A name that tells no number of streams is of one.
    """
    words: dict[str, Value] = {"encoder": scenario.encoder, "hardware": hardware or scenario.encoder_type}
    if scenario.is_baseline or scenario.mbps == 0:
        return dict.fromkeys(NUMBERS, 0.0) | words
    rate, fps = scenario.pixels_per_second, scenario.fps or (scenario.outputs[0].fps if scenario.outputs else None)
    return {
        "streams": float(scenario.stream_count),
        "mbps": scenario.mbps,
        "megapixels": rate / fps / 1e6 if rate and fps else None,
        "fps": fps,
        **words,
    }


def rows(scenarios: Iterable[Scenario], hardware: str | None = None) -> list[Row]:
    """Return the rows of the scenarios whose power is known."""
    return [
        Row(it.mean_watts, features(it, hardware), it.streams is not None and not it.is_baseline)
        for it in scenarios
        if it.mean_watts is not None
    ]
