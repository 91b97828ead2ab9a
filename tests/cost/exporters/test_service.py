"""What the exporters tell of a folder as its files come, change, break and go."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetml.cost.catalogue import Predicted, Prices
from fleetml.cost.exporters import folder as folders
from fleetml.cost.exporters.service import Exporters, Sources
from fleetml.cost.exporters.text import Rates
from tests.cost.exporters.measured import content, idle, samples, scenario, write

GOLDEN = Path(__file__).parent
MEASURED = Path(__file__).parents[4] / "shared/data/transcode_power"
RATES = Rates(Prices(per_kwh=0.36, per_core_hour=3.6, grams_per_kwh=400.0))
LADDER = [{"resolution": "1920x1080", "fps": 30}, {"resolution": "1280x720", "fps": 30}]
COST, QOE, RESULTS = "cost", "qoe", "results"


class Shown:
    """The exporters over a folder; `told` is what a scrape gets."""

    def __init__(self, folder: Path, **sources: Any) -> None:
        self.exporters = Exporters(folder, Sources(**{"rates": lambda: RATES, **sources}))

    def look(self) -> bool:
        return self.exporters.look()

    def page(self, name: str, path: str = "/metrics") -> Any:
        return self.exporters.boards[name].pages[path]

    def told(self, name: str) -> dict[str, dict[str, float]]:
        page = self.page(name)
        assert page.status == 200
        assert gzip.decompress(page.packed) == page.plain
        return samples(page.plain)

    def ready(self) -> dict[str, Any]:
        page = self.page(RESULTS, "/ready")
        return {"status": page.status, **json.loads(page.plain)}


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def rewrite(path: Path, text: str) -> None:
    """Write a file at another time than before, however coarse the clock of its file system."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize("name", [COST, QOE, RESULTS])
def test_a_scrape_is_the_golden_one(tmp_path: Path, shown: Shown, name: str) -> None:
    """Names, labels and values that the dashboards of existing users query. FLEETML_GOLDEN=1 writes the files again."""
    quality = {"vmaf_score": 92.1, "psnr_score": 41.0, "ssim_score": 0.98}
    frames = {"avg_fps": 29.9, "dropped_frames": 3, "total_frames": 300, "viewers": 100}
    write(
        tmp_path,
        idle(),
        scenario(**quality, **frames),
        scenario(
            '5 Mbps "odd\\name"', bitrate="5M", outputs=LADDER, encoder_type="gpu", gpu_usage_cores=[1.0, 1.0, 1.0]
        ),
        scenario("no power", power_watts=None),
        scenario("no bitrate", bitrate=None, resolution="N/A"),
    )
    shown = Shown(tmp_path, predict=lambda: lambda each: Predicted(19.0, 18.0, 20.5) if each.streams else None)
    shown.look()
    text = re.sub(
        r"^(qoe_computation_duration_seconds{.*}) .*$", r"\1 0.001", shown.page(name).plain.decode(), flags=re.M
    )
    golden = GOLDEN / f"{name}.prom"
    if os.environ.get("FLEETML_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_files_are_picked_up_as_they_come_change_and_go(tmp_path: Path, shown: Shown) -> None:
    assert shown.page(COST).status == 503
    assert shown.ready()["status"] == 503
    assert shown.look()
    assert shown.told(RESULTS) == {"results_exporter_up": {"": 1.0}, "results_scenarios_total": {"": 0.0}}
    assert not shown.look()
    one = write(tmp_path, scenario("A"), name="test_results_1.json")
    (tmp_path / "notes.json").write_text("not ours")
    assert shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 20.0}
    two = write(tmp_path, scenario("B"), name="test_results_2.json")
    assert shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 20.0, "B": 20.0}
    rewrite(one, content([scenario("A", power_watts=[30.0, 30.0, 30.0])]))
    assert shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 30.0, "B": 20.0}
    two.unlink()
    assert shown.look()
    assert shown.told(COST)["cost_usd_per_hour"] == {"A": pytest.approx(0.030 * 0.36)}
    assert not shown.look()


def test_what_nothing_changed_is_not_computed_again(tmp_path: Path, shown: Shown) -> None:
    write(tmp_path, scenario())
    shown.look()
    before = shown.page(COST)
    assert not shown.look()
    assert shown.page(COST) is before


def test_a_file_half_written_tells_what_it_told_before_until_it_is_complete(tmp_path: Path, shown: Shown) -> None:
    whole = content([scenario("A", power_watts=[40.0, 40.0, 40.0])])
    new = tmp_path / "test_results_2.json"
    path = write(tmp_path, scenario("A"))
    rewrite(new, whole[:50])
    shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 20.0}
    rewrite(path, whole[:-30])
    shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 20.0}
    problems = shown.ready()["problems"]
    assert any("test_results_1.json" in each for each in problems)
    assert any("test_results_2.json" in each for each in problems)
    assert shown.ready()["status"] == 200  # what the other files tell is true
    new.unlink()
    rewrite(path, whole)
    shown.look()
    assert shown.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 40.0}
    assert shown.ready()["problems"] == []


def test_a_folder_that_goes_leaves_what_was_told_and_is_not_ready(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, scenario("A"))
    shown = Shown(folder)
    shown.look()
    folder.rename(tmp_path / "elsewhere")
    assert shown.look()
    told = shown.told(RESULTS)
    assert told["results_exporter_up"] == {"": 0.0}
    assert told["results_scenario_mean_power_watts"] == {"A": 20.0}
    assert shown.ready()["status"] == 503
    assert "must be readable" in shown.ready()["problems"][0]
    (tmp_path / "elsewhere").rename(folder)
    assert shown.look()
    assert shown.ready()["status"] == 200
    assert shown.told(RESULTS)["results_exporter_up"] == {"": 1.0}


def test_what_is_no_file_or_too_large_is_told_and_not_read(
    tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "test_results_pipe.json")
    (tmp_path / "test_results_folder.json").mkdir()
    (tmp_path / "test_results_nowhere.json").symlink_to(tmp_path / "nowhere")
    write(tmp_path, scenario("A"))
    monkeypatch.setattr(folders, "LARGEST", 6000)
    write(tmp_path, *(scenario(f"{number} Streams") for number in range(60)), name="test_results_large.json")
    shown.look()
    assert set(shown.told(RESULTS)["results_scenario_mean_power_watts"]) == {"A"}
    problems = " ".join(sorted(shown.ready()["problems"]))
    assert re.findall(r"test_results_(\w+)|at most", problems) == ["folder", "pipe", "", "large"]


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours from UTC."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_of_the_same_series_in_two_files_the_one_measured_later_is_told(tmp_path: Path, shown: Shown) -> None:
    """Only the results exporter has the run in its labels, and Prometheus refuses a scrape with a series twice.

    A date without an offset is in UTC, wherever that is read.
    """
    write(tmp_path, scenario("A", power_watts=[50.0] * 3), name="test_results_b.json", date="2026-01-01T10:00:00+02:00")
    write(tmp_path, scenario("A"), name="test_results_a.json", date="2026-01-01T09:00:00")
    shown.look()
    assert shown.page(COST).plain.count(b"cost_usd_per_hour{") == 1
    assert shown.told(COST)["cost_usd_per_hour"] == {"A": pytest.approx(0.020 * 0.36)}
    assert shown.page(RESULTS).plain.count(b"results_scenario_mean_power_watts{") == 2


@pytest.mark.parametrize(
    ("facts", "absent", "told"),
    [
        ({"power_watts": None}, ["cost_total_load_aware", "cost_usd_per_hour"], ["cost_compute_load_aware"]),
        (
            {"power_watts": [20.0, float("nan"), 20.0]},
            ["cost_energy_load_aware", "cost_usd_per_hour"],
            ["cost_compute_load_aware"],
        ),
        (
            {"power_watts": [20.0, 0.0, 20.0]},
            ["cost_energy_load_aware", "co2_monthly_projection"],
            ["cost_compute_load_aware"],
        ),
        (
            {"power_watts": [20.0, -5.0, 20.0]},
            ["cost_energy_load_aware", "cost_usd_per_hour"],
            ["cost_compute_load_aware"],
        ),
        ({"resolution": "N/A"}, ["cost_per_pixel"], ["cost_total_load_aware"]),
        ({"viewers": 0}, ["cost_per_watch_hour"], ["cost_total_load_aware"]),
        ({"cpu_usage_cores": None}, ["cost_total_load_aware", "cost_compute_load_aware"], ["cost_energy_load_aware"]),
        ({"step_seconds": None}, ["cost_total_load_aware", "cost_energy_load_aware"], ["cost_usd_per_hour"]),
        ({"bitrate": None}, ["cost_total_load_aware", "cost_usd_per_hour"], []),
    ],
)
def test_what_cannot_be_computed_is_absent_and_never_0(
    tmp_path: Path, shown: Shown, facts: dict[str, Any], absent: list[str], told: list[str]
) -> None:
    write(tmp_path, idle(), scenario("A", **facts))
    shown.look()
    found = shown.told(COST)
    assert all("A" not in found.get(name, {}) for name in absent)
    assert all(found[name]["A"] > 0 for name in told)
    assert "Baseline_(Idle)" in found["cost_usd_per_hour"]  # the others stay


def test_without_a_baseline_nothing_is_saved(tmp_path: Path, shown: Shown) -> None:
    write(tmp_path, scenario("A"))
    shown.look()
    assert not {"cost_monthly_savings", "co2_monthly_avoided"} & set(shown.told(COST))
    assert not {name for name in shown.told(RESULTS) if "net_" in name or "delta_" in name}


def test_scenarios_that_overlap_are_left_out_and_told(tmp_path: Path, shown: Shown) -> None:
    write(
        tmp_path,
        scenario("A", start_time=1e9, end_time=1e9 + 10),
        scenario("B", start_time=1e9 + 5, end_time=1e9 + 15),
        scenario("C"),
    )
    shown.look()
    assert set(shown.told(RESULTS)["results_scenario_mean_power_watts"]) == {"C"}
    assert any("at the same time" in each for each in shown.ready()["problems"])


def test_prices_that_change_change_what_is_told(tmp_path: Path) -> None:
    now = [RATES]
    shown = Shown(tmp_path, rates=lambda: now[0])
    write(tmp_path, scenario("A"))
    shown.look()
    now[0] = Rates(Prices(per_kwh=0.72))
    assert shown.look()
    assert shown.told(COST)["cost_usd_per_hour"] == {"A": pytest.approx(0.020 * 0.72)}


def test_without_a_price_of_energy_only_what_needs_none_is_told(tmp_path: Path) -> None:
    shown = Shown(tmp_path, rates=lambda: Rates(Prices(0.0, 3.6, "EUR"), priced=False))
    write(tmp_path, scenario("A"))
    shown.look()
    assert set(shown.told(COST)) == {
        "cost_exporter_alive",
        "cost_compute_load_aware",
        "co2_emissions_kg_per_hour",
        "co2_monthly_projection",
    }
    assert b'currency="EUR"' in shown.page(COST).plain
    shown = Shown(tmp_path, rates=lambda: Rates(Prices(0.36), weighed=False))
    shown.look()
    assert "cost_usd_per_hour" in shown.told(COST)
    assert not any(name.startswith("co2") for name in shown.told(COST))


def test_names_that_the_format_could_take_amiss_are_written_so_that_it_does_not(tmp_path: Path, shown: Shown) -> None:
    write(tmp_path, scenario('line\nbreak "quoted" back\\slash'), scenario("\ud800 alone"))
    shown.look()
    page = shown.page(COST).plain
    assert rb'scenario="line\nbreak_\"quoted\"_back\\slash"' in page
    assert b'scenario="?_alone"' in page


def test_a_name_of_a_file_that_is_no_text_hinders_nobody(
    tmp_path: Path, shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / os.fsdecode(b"test_results_\xff.json")).write_text("{")
    (tmp_path / os.fsdecode(b"test_results_\xfe.json")).write_text(content([scenario("A")]))
    shown.look()
    assert b'run_id="test_results_?"' in shown.page(RESULTS).plain
    assert any("test_results_?.json" in each for each in shown.ready()["problems"])
    assert "test_results_?.json" in caplog.text


@pytest.mark.skipif(not MEASURED.exists(), reason=f"no measured transcodes in {MEASURED}")
def test_files_of_real_measurements_are_told(tmp_path: Path, shown: Shown) -> None:
    """Their power stands beside them, in an analysis: here one scenario gets it, as its file could have it."""
    for file in MEASURED.glob("test_results_*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    one = tmp_path / "test_results_20251229_142911.json"  # the last that measured it
    document = json.loads(one.read_text())
    next(each for each in document["scenarios"] if each["name"] == "8 Streams @ 5000k")["mean_power_w"] = 23.11
    rewrite(one, json.dumps(document))
    shown.look()
    told = shown.told(RESULTS)
    assert told["results_scenarios_total"] == {"": 67.0}
    assert told["results_scenario_mean_power_watts"] == {"8 Streams @ 5000k": 23.11}
    assert told["results_scenario_total_energy_wh"]["8 Streams @ 5000k"] == pytest.approx(0.7703, abs=1e-4)
    measured = f'results_scenario_total_pixels{{run_id="{one.stem}",scenario="8 Streams @ 5000k",'
    (line,) = (each for each in shown.page(RESULTS).plain.decode().splitlines() if each.startswith(measured))
    assert float(line.rpartition(" ")[2]) == pytest.approx(3317767712.4, rel=1e-9)  # as the analysis says
    assert shown.told(COST)["cost_usd_per_hour"] == {"8_Streams_@_5000k": pytest.approx(0.02311 * 0.36)}
    assert shown.ready()["problems"] == []


def test_what_fails_once_does_not_end_the_looking(tmp_path: Path) -> None:
    calls: list[bool] = []

    class Ends:
        def is_set(self) -> bool:
            return len(calls) >= 2

        def wait(self, seconds: float) -> None: ...

    shown = Shown(tmp_path)

    def after(changed: bool) -> tuple[str, ...]:
        calls.append(changed)
        if len(calls) == 1:
            raise RuntimeError("once")
        return ()

    shown.exporters.run(0.0, Ends(), after)  # type: ignore[arg-type]
    assert calls == [True, False]
