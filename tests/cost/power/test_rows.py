"""What a scenario tells a power model."""

import pytest

from fleetml.cost.power.rows import features, rows
from fleetml.cost.scenarios import Output, Scenario
from fleetml.frozen import replace

ONE = Scenario(
    name="4 Streams @ 2500k",
    streams=4,
    mbps=2.5,
    fps=30.0,
    outputs=(Output(1280, 720, 30.0), Output(640, 360, 60.0)),
    encoder="h264",
    encoder_type="cpu",
    mean_power_w=20.0,
)


def test_features_of_a_scenario() -> None:
    """Pixels of a frame are those of all outputs a second, by the frames a second."""
    assert features(ONE) == {
        "streams": 4.0,
        "mbps": 2.5,
        "megapixels": pytest.approx((1280 * 720 + 640 * 360 * 2) / 1e6),
        "fps": 30.0,
        "encoder": "h264",
        "hardware": "cpu",
    }
    assert features(ONE, "host-1")["hardware"] == "host-1"


def test_an_idle_machine_does_nothing_whatever_its_fields_say() -> None:
    for idle in (replace(ONE, name="Baseline (Idle)"), replace(ONE, mbps=0.0)):
        assert [features(idle)[name] for name in ("streams", "mbps", "megapixels", "fps")] == [0.0] * 4


def test_what_is_not_known_is_none_and_streams_that_are_not_told_are_one() -> None:
    found = features(Scenario(name="bare"))
    assert found == {"streams": 1.0, "mbps": None, "megapixels": None, "fps": None, "encoder": None, "hardware": None}
    assert features(replace(ONE, fps=None))["fps"] == 30.0


def test_rows_are_of_scenarios_with_power_and_know_whether_streams_were_counted() -> None:
    found = rows([ONE, replace(ONE, mean_power_w=None), replace(ONE, streams=None), replace(ONE, name="idle")])
    assert [(row.watts, row.counted) for row in found] == [(20.0, True), (20.0, False), (20.0, False)]


def test_no_streams_are_not_one() -> None:
    assert features(Scenario(name="0 Streams @ 5000k", streams=0, mbps=5.0))["streams"] == 0.0
    assert features(Scenario(name="10 Mbps Stream", streams=None, mbps=10.0))["streams"] == 1.0
