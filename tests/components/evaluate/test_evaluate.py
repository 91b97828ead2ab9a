"""evaluate and gate on real graphs: the naive forecasts stand in for what the searches make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from components.evaluate.evaluate import evaluate, of_quantiles
from components.evaluate.gate import Budget, NothingWithinBudget, best, decide, gate
from fleetml.component import Artifact
from fleetml.errors import InvalidData
from fleetml.learn import baselines, conformal, graph
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Meta, Windows
from fleetml.report import text

META = Meta(target="bandwidth", context=12, horizon=4, season=4)


def series(rows: int = 8, scale: float = 1.0) -> Windows:
    """Windows that repeat every season: seasonal naive is perfect there, last value is not."""
    values = np.tile(np.array([1, 5, 9, 5], np.float32), 4)
    return Windows(
        vm_id=np.array([f"vm{i % 2}" for i in range(rows)]),
        origin=np.arange(rows).astype("datetime64[us]"),
        history=np.tile(values[:12], (rows, 1)),
        covariates=np.empty((rows, 0), np.float32),
        target=np.tile(values[12:], (rows, 1)),
        scale=np.full(rows, scale, np.float32),
        meta=META,
    )


class Stage:
    """The inputs of both stages in one folder; the searches found `models` (name → naive forecast)."""

    def __init__(self, folder: Path, **models: str) -> None:
        self.folder = folder
        self.test = self.artifact("test")
        series().save(self.test.path)
        self.models = {}
        for name in ("automl", "nas", "hpo", "compressed", "champion"):
            artifact = self.artifact(f"{name}_model")
            if kind := models.get(name, "last_value" if name != "champion" else ""):
                graph.publish(baselines.BASELINES[kind](META), artifact, validation_mase=0.5)
            else:
                artifact.path.touch()
            self.models[f"{name}_model"] = artifact

    def artifact(self, name: str) -> Artifact:
        return Artifact(name, str(self.folder / name))

    def evaluate(self, champion_version: str = "") -> dict[str, Any]:
        self.scores, self.report, self.metrics = (self.artifact(n) for n in ("scores", "report", "metrics"))
        evaluate(self.test, self.scores, self.report, self.metrics, champion_version, **self.models)
        return json.loads(self.scores.path.read_text())

    def gate(self, champion_version: str = "", **budget: Any) -> tuple[dict[str, Any], Artifact]:
        model = self.artifact("model")
        budget = {"latency_budget_ms": 1000.0, **budget}  # how busy the machine is must not choose the winner
        told = self.artifact("m")
        out = gate(self.scores, self.test, model, told, champion_version, **budget, **self.models)
        shown = text.figures(told.metadata)  # what `fleetml run` and `status` print of the step
        assert f"promote {out['promote']}, reason {out['reason']}" in shown
        return out, model


def test_every_candidate_is_scored_on_the_same_windows(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    scores = stage.evaluate()
    assert (scores["target"], scores["windows"], scores["vms"], scores["horizon"]) == ("bandwidth", 8, 2, 4)
    assert set(scores["candidates"]) == {"last_value", "seasonal_naive", "automl", "nas", "hpo", "compressed"}
    assert scores["candidates"]["seasonal_naive"]["mase"] == 0.0
    assert scores["candidates"]["last_value"]["mase"] == pytest.approx((4 + 0 + 4 + 0) / 4)
    assert scores["candidates"]["nas"]["mase"] == scores["candidates"]["last_value"]["mase"]
    assert scores["candidates"]["nas"]["per_vm"]["vm1"]["mae"] == pytest.approx(2.0)
    assert scores["candidates"]["nas"]["latency_ms_p99"] > 0
    assert stage.metrics.metadata["best"].startswith("seasonal_naive")
    page = stage.report.path.read_text()
    assert "seasonal_naive" in page
    assert page.count("<svg") == 3


def test_of_a_model_that_says_quantiles_crps_and_coverage_are_told() -> None:
    from fleetml.learn import export
    from fleetml.learn.experts import Memory
    from fleetml.learn.mixture import Mixture
    from fleetml.learn.quantiles import LEVELS

    memory = Memory(past=6, stride=4, reach=4)
    meta = replace(META, context=memory.context(META.season))
    values = np.random.default_rng(0).normal(50, 5, (100, meta.context + meta.horizon)).astype(np.float32)
    held_out = replace(series(100), history=values[:, : meta.context], target=values[:, meta.context :], meta=meta)
    forecaster = Forecaster(export.from_torch(Mixture(meta, memory), meta, {}, LEVELS).SerializeToString())
    entry = of_quantiles(held_out, forecaster)
    assert 0.05 < entry["crps"] < 0.1, "of normal values of deviation 5 around 50 it is at least .056"
    assert entry["covered_said"] == 0.8
    assert 0.2 < entry["covered"] < 0.9
    still = replace(held_out, target=np.zeros_like(held_out.target))
    assert of_quantiles(still, forecaster) == {}, "of nothing but zeros a CRPS is not defined"
    plain = Forecaster(baselines.last_value(META).SerializeToString())
    assert of_quantiles(series(), plain) == {}


def test_crps_and_coverage_of_calibrated_models_are_on_the_page_and_in_the_figures(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    values = np.random.default_rng(0).normal(50, 5, (300, META.context + META.horizon)).astype(np.float32)
    known = replace(series(300), history=values[:, : META.context], target=values[:, META.context :])
    known[:100].save(stage.test.path)
    made = conformal.calibrated(baselines.last_value(META), known[100:])
    graph.publish(made, stage.models["automl_model"])
    judged = stage.evaluate()["candidates"]["automl"]
    assert judged["covered"] == pytest.approx(judged["covered_said"], abs=0.06)
    assert stage.metrics.metadata["crps_automl"] == round(judged["crps"], 4)
    assert stage.metrics.metadata["covered_automl"] == round(judged["covered"], 4)
    assert "crps_nas" not in stage.metrics.metadata, "it says no quantiles"
    page = stage.report.path.read_text()
    assert f"<td>{judged['crps']:.4f}<td>{judged['covered']:.0%} of 80%" in page


def test_the_best_baseline_may_win_and_is_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.evaluate()
    out, model = stage.gate()
    assert (out["promote"], out["winner"]) == (True, "seasonal_naive")
    assert "no champion yet" in out["reason"]
    assert graph.describe(graph.load(model.path)).family == "seasonal_naive"
    assert model.metadata["test_mase"] == 0.0


def test_a_better_model_replaces_the_champion(tmp_path: Path) -> None:
    stage = Stage(tmp_path, champion="last_value")
    assert stage.evaluate("3")["champion_version"] == "3"
    out, _ = stage.gate("3")
    assert out["promote"]
    assert "beats champion 3 (2.0000)" in out["reason"]


def test_an_equal_model_does_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path, champion="seasonal_naive")
    stage.evaluate("7")
    out, _ = stage.gate("7")
    assert not out["promote"]
    assert "champion 7" in out["reason"]


def test_a_champion_of_other_windows_is_left_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    other = Meta(target="bandwidth", context=20, horizon=2, season=4)
    graph.publish(baselines.last_value(other), stage.models["champion_model"])
    assert "champion" not in stage.evaluate("2")["candidates"]
    out, _ = stage.gate("2")
    assert out["promote"]
    assert "does not fit" in out["reason"]


def test_a_champion_that_forecasts_further_stays_unless_told_otherwise(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    further = replace(META, horizon=2 * META.horizon)
    graph.publish(baselines.last_value(further), stage.models["champion_model"])
    stage.evaluate("2")
    out, _ = stage.gate("2")
    assert not out["promote"]
    assert f"champion 2 stays: it forecasts {further.horizon} steps" in out["reason"]
    assert f"these candidates {META.horizon} steps" in out["reason"]
    assert "shorter_horizon=true" in out["reason"]
    assert stage.gate("2", shorter_horizon=True)[0]["promote"]


def test_what_the_search_noted_goes_with_the_winner(tmp_path: Path) -> None:
    stage = Stage(tmp_path, nas="seasonal_naive")
    stage.evaluate()
    document = json.loads(stage.scores.path.read_text())
    document["candidates"]["seasonal_naive"]["mase"] = 0.1
    stage.scores.path.write_text(json.dumps(document))
    out, model = stage.gate()
    assert out["winner"] == "nas"
    assert model.metadata["validation_mase"] == 0.5


def test_nothing_within_the_budget_is_an_error_with_the_figures(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.evaluate()
    with pytest.raises(NothingWithinBudget, match="size_budget_mb"):
        stage.gate(size_budget_mb=0.00001)
    assert not stage.artifact("model").path.exists()


def test_who_is_better_than_the_winner_and_outside_the_budget_is_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    document = stage.evaluate()
    document["candidates"]["seasonal_naive"]["latency_ms_p99"] = 4000.0
    stage.scores.path.write_text(json.dumps(document))
    reason = stage.gate()[0]["reason"]
    assert "seasonal_naive is better (MASE 0.0000), but takes 4000.00 ms" in reason
    assert "must answer within 1000.0 ms (p99)" in reason


def test_the_memory_of_each_candidate_is_told_and_kept_to(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    document = stage.evaluate()
    for name, found in document["candidates"].items():
        assert 0 <= found["memory_mb"] < 20, "a graph of a few nodes"
        assert stage.metrics.metadata[f"memory_mb_{name}"] == found["memory_mb"]
        assert found["wh_per_1000"] == pytest.approx(found["latency_ms_p50"] * 3.5 * 1.135 / 3600, rel=0.01)
        found["memory_mb"] = 99.0
    document["candidates"]["nas"]["memory_mb"] = 40.0
    stage.scores.path.write_text(json.dumps(document))
    assert "<th>memory MB" in stage.report.path.read_text()
    assert stage.gate()[0]["winner"] == "seasonal_naive"
    assert stage.gate(memory_budget_mb=50.0)[0]["winner"] == "nas"
    with pytest.raises(
        NothingWithinBudget, match=r"at most 30.0 MB of memory.*nas .* 40.0 MB of memory.*memory_budget_mb"
    ):
        stage.gate(memory_budget_mb=30.0)


def test_the_energy_of_a_thousand_predictions_is_shown_and_kept_to(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    document = stage.evaluate()
    page = stage.report.path.read_text()
    assert page.count("<th>Wh per 1000") == 1
    for found in document["candidates"].values():
        assert f"<td>{found['memory_mb']:.1f}<td>{found['wh_per_1000']:.3g}</tr>" in page
        found["wh_per_1000"] = 0.5
    document["candidates"]["nas"]["wh_per_1000"] = 0.02
    stage.scores.path.write_text(json.dumps(document))
    assert stage.gate()[0]["winner"] == "seasonal_naive"
    assert stage.gate(energy_budget_wh=0.1)[0]["winner"] == "nas"
    with pytest.raises(
        NothingWithinBudget,
        match=r"a thousand answers take at most 0.01 Wh, none does: .*nas .* 0.02 Wh.*energy_budget_wh",
    ):
        stage.gate(energy_budget_wh=0.01)
    with pytest.raises(NothingWithinBudget, match="energy"):  # scores of before it was told
        best({"a": entry(0.1)}, Budget(5.0, 20.0, energy_wh=1000.0))


def test_windows_that_cannot_be_scored_are_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    series(scale=0.0).save(stage.test.path)
    with pytest.raises(InvalidData, match="constant"):
        stage.evaluate()


def entry(mase: float, p99: float = 1.0, size: int = 1000) -> dict[str, Any]:
    return {"mase": mase, "latency_ms_p99": p99, "size_bytes": size, "family": "x"}


def test_best_is_the_least_error_inside_both_budgets() -> None:
    judged = {
        "slow": entry(0.1, p99=9.0),
        "large": entry(0.2, size=30_000_000),
        "good": entry(0.5, size=2000),
        "small": entry(0.5),
        "champion": entry(0.0),
    }
    assert best(judged, Budget(5.0, 20.0)) == "small"
    with pytest.raises(NothingWithinBudget, match="memory"):  # scores of before it was told
        best(judged, Budget(5.0, 20.0, memory_mb=1000.0))


def test_the_champion_stays_on_a_tie() -> None:
    assert not decide({"a": entry(0.5), "champion": entry(0.5)}, "a", "1")[0]
    assert decide({"a": entry(0.4999), "champion": entry(0.5)}, "a", "1")[0]


def hollow() -> onnx.ModelProto:
    """The last value, but no number where it is 5: on every window of `series`, on none that the smoke test tries."""
    made = baselines.BASELINES["last_value"](META)
    for node in made.graph.node:
        node.output[:] = ["known" if name == "forecast" else name for name in node.output]
    numbers = {"five": 5.0, "nothing": np.nan}
    made.graph.initializer.extend(numpy_helper.from_array(np.float32(v), name) for name, v in numbers.items())
    made.graph.node.append(helper.make_node("Equal", ["known", "five"], ["hard"]))
    made.graph.node.append(helper.make_node("Where", ["hard", "nothing", "known"], ["forecast"]))
    return graph.finish(made, META, "linear")


def test_a_graph_that_forecasts_no_number_does_not_win(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    graph.publish(hollow(), stage.models["nas_model"], validation_mase=0.5)
    scores = stage.evaluate()
    assert scores["candidates"]["nas"]["mase"] == np.inf
    assert stage.gate()[0]["winner"] == "seasonal_naive"
    assert stage.report.path.read_text().count("<svg") == 3
