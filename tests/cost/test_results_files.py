"""What a results file holds, and what is told of a wrong one."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetml.cost.catalogue import Prices, cost, qoe
from fleetml.cost.catalogue import results as results_of
from fleetml.cost.results_files import parse, read
from fleetml.cost.scenarios import Scenario
from fleetml.errors import InvalidData
from tests.cost.results import facts, one, results

MEASURED = Path(__file__).parents[3] / "shared/data/transcode_power"


def test_a_scenario_is_what_the_file_says() -> None:
    found, remarks = one()
    assert remarks == ()
    assert (found.name, found.streams, found.bitrate, found.mbps) == ("4 Streams @ 2500k", 4, "2500k", 2.5)
    assert (found.ladder, found.duration, found.viewers, found.vmaf_score) == ("1280x720@30", 20.0, 100, 92.1)
    assert (found.mean_watts, found.pixels) == (11.6, 1280 * 720 * 30 * 20.0)


@pytest.mark.parametrize(
    ("written", "mbps"),
    [
        ("2500k", 2.5),
        ("5M", 5.0),
        ("1000", 1.0),
        (1000, 1.0),
        ("0k", 0.0),
        ("2.5 Mbps", 2.5),
        ("800000bps", 0.8),
        ("N/A", None),
        (None, None),
    ],
)
def test_bitrates(written: Any, mbps: float | None) -> None:
    found, remarks = one(bitrate=written)
    assert (found.mbps, remarks) == (mbps, ())


@pytest.mark.parametrize("written", ["fast", "-5M", "5000000", math.nan, True, ["2500k"], "2500k @ 30"])
def test_a_wrong_bitrate_is_told_and_absent(written: Any) -> None:
    found, (remark,) = one(bitrate=written)
    assert (found.mbps, found.bitrate) == (None, None)
    assert "test_results_1.json, scenario 0 ('4 Streams @ 2500k'): bitrate" in remark


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("4 Streams @ 5000k", 4),
        ("12 streams", 12),
        ("2-stream test", 2),
        ("Single Stream", 1),
        ("10 Mbps Stream", None),
        ("2.5 Mbps Stream", None),
        ("1.5 Streams", None),
        ("480p @ 2.5Mbps", None),
    ],
)
def test_streams_stand_in_the_name(name: str, streams: int | None) -> None:
    """Ten Mbit/s are not ten streams."""
    assert one(name=name)[0].streams == streams


@pytest.mark.parametrize("rung", [{"resolution": "N/A", "fps": 30}, {"resolution": "854x480"}, "854x480", {}])
def test_a_ladder_with_one_wrong_rung_is_unknown_and_not_a_smaller_one(rung: Any) -> None:
    found, (remark,) = one(outputs=[{"resolution": "1920x1080", "fps": 30}, rung])
    assert (found.outputs, found.pixels, found.ladder) == ((), None, None)
    assert "outputs are a list of objects with resolution and fps" in remark


def test_a_resolution_that_is_none_is_told() -> None:
    found, (remark,) = one(resolution="big")
    assert found.pixels is None
    assert "resolution 'big' is no resolution such as" in remark


@pytest.mark.parametrize("bad", [0, -3, math.nan, math.inf, None, "12", True, 1e300, 1e-300, 10**400])
def test_a_power_sample_that_is_none_takes_the_series_with_it(bad: Any) -> None:
    found, (remark,) = one(power_watts=[10, bad, 12, 12, 10])
    assert (found.power_watts, found.mean_watts) == ((), None)
    assert "power_watts holds sample 1" in remark


def test_an_idle_core_is_a_sample() -> None:
    found, remarks = one(cpu_usage_cores=[0, 0, 0, 0, 0])
    assert (found.cpu_usage_cores, remarks) == ((0.0,) * 5, ())


@pytest.mark.parametrize(
    ("field", "value"),
    [("vmaf_score", 101), ("vmaf_score", -1), ("psnr_score", math.inf), ("fps", 0), ("viewers", 2.5), ("encoder", 7)],
)
def test_a_field_beyond_its_range_is_told_and_absent(field: str, value: Any) -> None:
    found, remarks = one(**{field: value})
    assert getattr(found, field) is None
    assert len(remarks) == 1
    assert field in remarks[0]


def test_missing_fields_are_absent_and_no_mistake() -> None:
    found = results({"name": "bare"})
    assert found.remarks == ()
    assert found.scenarios == (Scenario(name="bare"),)
    assert (found.scenarios[0].mean_watts, found.scenarios[0].pixels) == (None, None)


def test_times_that_do_not_ascend_are_told_and_the_duration_is_the_files() -> None:
    found, remarks = one(start_time=1020.0, end_time=1000.0)
    assert (found.start_time, found.end_time, found.duration) == (None, None, 20.0)
    assert "is not before end_time" in remarks[0]


def test_the_duration_is_that_of_the_times() -> None:
    found, remarks = one(duration=21)
    assert (found.duration, remarks) == (20.0, ())


def test_a_duration_that_is_none_is_not_replaced_by_the_times() -> None:
    """So a scenario that is written with what was refused of it, and read again, stays the same."""
    found, (remark,) = one(duration="refused")
    assert found.duration is None
    assert "duration 'refused' is no number" in remark


def test_a_duration_that_contradicts_the_times_is_told_and_absent() -> None:
    found, remarks = one(duration=120)
    assert (found.duration, found.pixels) == (None, None)
    assert "duration 120 s contradicts end_time - start_time, 20 s" in remarks[0]


@pytest.mark.parametrize(("end", "told"), [(1020.0, 0), (1024.9, 0), (1025.0, 1), (1015.0, 1), (1120.0, 1)])
def test_samples_that_cover_another_time_are_told(end: float, told: int) -> None:
    _, remarks = one(end_time=end, duration=None, cpu_usage_cores=None)
    assert len(remarks) == told
    assert all(f"covers 20 s of {end - 1000:g} s" in remark for remark in remarks)


@pytest.mark.parametrize(("samples", "told"), [(1, 1), (2, 1), (3, 0), (4, 1)])
def test_coarse_samples_cover_all_of_a_scenario_or_are_told(samples: int, told: int) -> None:
    """Sixty seconds of 120 are half of its energy, though only one sample is missing."""
    watts = [10.0] * samples
    _, remarks = one(end_time=1120.0, duration=None, cpu_usage_cores=None, power_watts=watts, step_seconds=60)
    assert len(remarks) == told


def test_of_many_samples_a_tenth_may_be_missing() -> None:
    known = {"end_time": 1120.0, "duration": None, "cpu_usage_cores": None, "step_seconds": 1}
    assert [len(one(power_watts=[10.0] * n, **known)[1]) for n in (108, 109, 121, 133, 134)] == [1, 0, 0, 0, 1]


def test_of_samples_that_cover_a_part_no_energy_is_told() -> None:
    """Energy of a sixth of the time, by the pixels of all of it, would be a wrong number; the mean power is not."""
    found, _ = one(end_time=1120.0, duration=None)
    costs, told = cost(found, None, Prices(0.12, 0.05)), results_of(found, None)
    assert set(costs) == {
        *("cost_usd_per_hour", "cost_monthly_projection", "co2_emissions_kg_per_hour", "co2_monthly_projection")
    }
    assert told["mean_power_watts"] == 11.6
    assert not {"total_energy_joules", "energy_wh_per_min", "energy_mj_per_frame"} & set(told)
    assert {"qoe_quality_per_watt"} == set(qoe(found)) - {"qoe_vmaf_score", "qoe_psnr_score"}


def test_samples_without_a_step_are_told() -> None:
    _, remarks = one(step_seconds=None, cpu_usage_cores=None)
    assert "power_watts needs step_seconds" in remarks[0]


def test_scenarios_that_overlap_are_left_out_and_the_others_stay() -> None:
    long = facts(name="long", duration=None, start_time=0.0, end_time=100.0)
    within, later = (
        facts(name="within", duration=None, start_time=10.0, end_time=20.0),
        facts(name="later", start_time=90.0, end_time=110.0),
    )
    apart = facts(name="apart", start_time=110.0, end_time=130.0)
    found = results(long, apart, later, within)
    assert [it.name for it in found.scenarios] == ["apart"]
    assert sum("at the same time" in it for it in found.remarks) == 2


def test_a_name_given_twice_is_that_of_the_first() -> None:
    found = results(facts(name="a b", viewers=1), facts(name="a_b", viewers=2, start_time=2000.0, end_time=2020.0))
    assert [it.viewers for it in found.scenarios] == [1]
    assert "names are given once, got 'a_b' again" in found.remarks[0]


@pytest.mark.parametrize("nameless", [{}, {"name": " "}, {"name": 3}, None, "4 Streams", []])
def test_a_scenario_without_a_name_is_left_out_and_the_others_stay(nameless: Any) -> None:
    found = results(nameless, facts())
    assert [it.name for it in found.scenarios] == ["4 Streams @ 2500k"]
    assert len(found.remarks) == 1


@pytest.mark.parametrize(
    "content",
    ["", '{"scenarios": [{"name": "4 Str', "[]", "{}", '{"scenarios": {}}', b"\xff\xfe\x00", "[" * 100_000],
)
def test_a_file_that_is_half_written_or_another_is_refused(content: str | bytes) -> None:
    with pytest.raises(InvalidData, match=r"test_results_1\.json"):
        parse(content, "test_results_1.json")


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["N/A", "5M", "1x1"])
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(sorted(facts())), ANYTHING).map(lambda some: facts() | some) | ANYTHING,
        max_size=4,
    )
)
@example(
    [
        facts(power_watts=[1e308, 1e308]),
        facts(name="b", start_time=None, cpu_usage_cores=[1e200] * 3, step_seconds=1e200),
    ]
)
def test_whatever_a_file_holds_is_read_and_what_is_known_is_sound(scenarios: list[Any]) -> None:
    found = parse(json.dumps({"scenarios": scenarios}), "test_results_1.json")
    for each in found.scenarios:
        assert each.mean_watts is None or 0 < each.mean_watts < math.inf
        assert each.pixels is None or each.pixels > 0
        assert each.mbps is None or 0 <= each.mbps <= 1000
        known = [
            *cost(each, found.baseline, Prices(0.12)).values(),
            *qoe(each).values(),
            *results_of(each, None).values(),
        ]
        assert all(map(math.isfinite, known))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="No such file"):
        read(tmp_path / "test_results_1.json")


@pytest.mark.parametrize("key", ["viewers", "vmaf_score", "duration", "power_watts", "step_seconds", "dropped_frames"])
def test_what_is_not_available_is_absent_like_what_is_missing(key: str) -> None:
    """Nor is it refused: of refused samples Prometheus is asked nothing."""
    assert one(**{key: "N/A"}) == one(**{key: None})


def test_more_dropped_frames_than_frames_are_told_and_absent() -> None:
    found, (remark,) = one(dropped_frames=10, total_frames=5)
    assert (found.dropped_frames, found.total_frames) == (None, None)
    assert "dropped_frames 10 is above total_frames 5" in remark
    assert "qoe_drop_rate" not in qoe(found)
    assert one(dropped_frames=5, total_frames=5)[0].dropped_frames == 5


@pytest.mark.skipif(not MEASURED.exists(), reason="the shared data are not here")
def test_measured_files_are_read_without_a_remark() -> None:
    found = [read(path) for path in sorted(MEASURED.glob("test_results_*.json"))]
    assert [len(it.scenarios) for it in found] == [15, 12, 15, 15, 10]
    assert [it.remarks for it in found] == [()] * 5
    assert found[0].run_id == "test_results_20251228_203216"
