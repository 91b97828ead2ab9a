"""The bounds of the numbers that our components take: one declaration, told before the first step of any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetml import ranges
from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, load
from fleetml.serving.deployment import MODES
from fleetml.triggers import Triggers

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"


def forecaster() -> Plan:
    return load(DAGS / "train_forecaster" / "pipeline.yaml")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("horizon", 0, "parameter 'horizon' of step 'validate' must be at least 1, got 0"),
        ("window_days", 0, "parameter 'window_days' of step 'ingest' must be at least 1, got 0"),
        ("context", -1, "'context'"),
        ("hpo_trials", 0, "parameter 'hpo_trials' of step 'hpo' must be at least 1, got 0"),
        ("hpo_workers", 0, "parameter 'hpo_workers' of step 'hpo' must be at least 1, got 0"),
        ("hpo_sampler", "gpp", "parameter 'hpo_sampler' of step 'hpo' must be one of auto, random, qmc,"),
        ("automl_seconds", 0, "'automl_seconds'"),
        ("test_windows", 0, "'test_windows'"),
        ("seed", -1, "must be at least 0, got -1; give a greater number"),
        ("seed", 2**32, "must be at most 4294967295, got 4294967296; give a smaller number"),
        ("latency_budget_ms", 0.0, "must be above 0, got 0.0"),
        ("max_compression_loss", -0.1, "parameter 'max_compression_loss' of step 'compress' must be at least 0"),
    ],
)
def test_what_cannot_be_of_a_forecaster_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(forecaster(), {name: value})
    assert told in str(refused.value)


@pytest.mark.parametrize("pipeline", sorted(path.parent.name for path in DAGS.glob("*/pipeline.yaml")))
def test_every_pipeline_keeps_to_its_ranges_by_default(pipeline: str) -> None:
    plan = load(DAGS / pipeline / "pipeline.yaml")
    ranges.check(plan, plan.bind({}))


def test_a_parameter_has_the_narrowest_range_of_the_steps_that_take_it() -> None:
    found = ranges.of(forecaster())
    assert found["seed"] == {"minimum": 0, "maximum": 2**32 - 1}
    assert found["horizon"] == {"minimum": 1}
    assert found["latency_budget_ms"] == {"exclusiveMinimum": 0}
    assert "target" not in found


def test_a_share_lies_between_its_bounds() -> None:
    monitor = load(DAGS / "monitor" / "pipeline.yaml")
    assert ranges.of(monitor)["threshold"] == {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
    with pytest.raises(InvalidParameter, match="'threshold' of step 'condition-1/drift' must be below 1, got 1"):
        ranges.check(monitor, {"threshold": 1})


@pytest.mark.parametrize("pipeline", ["train_forecaster", "train_anomaly", "train_placement"])
def test_a_word_that_no_step_knows_is_refused_also_behind_the_gate(pipeline: str) -> None:
    plan = load(DAGS / pipeline / "pipeline.yaml")
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(plan, {"rollout": "cannary"})
    assert "'rollout' of step" in str(refused.value)
    assert "must be empty or one of canary, ab, shadow, got 'cannary'; did you mean 'canary'?" in str(refused.value)
    for known in ("", *MODES):
        ranges.check(plan, {"rollout": known})
    assert ranges.of(plan)["rollout"] == {"enum": ["", *MODES]}


def test_a_wrong_word_in_triggers_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"triggers.yaml: defaults: parameter 'rollout' .* got 'blue'; give one"):
        Triggers(defaults={"rollout": "blue"}).check(forecaster(), tmp_path / "triggers.yaml")


def test_a_component_of_others_means_what_it_wants_by_its_names() -> None:
    whole = load(ROOT / "tests" / "pipelines" / "types.yaml")
    ranges.check(whole, dict.fromkeys(whole.inputs, 0))
    assert ranges.of(whole) == {}


def test_a_step_that_is_kept_is_not_asked() -> None:
    plan = forecaster()
    ranges.check(plan, {"hpo_trials": 0}, kept=["hpo"])


def test_defaults_of_triggers_are_held_to_them(tmp_path: Path) -> None:
    place = tmp_path / "triggers.yaml"
    with pytest.raises(InvalidParameter) as refused:
        Triggers(defaults={"horizon": 0}).check(forecaster(), place)
    assert str(refused.value).startswith(
        f"{place}: defaults: parameter 'horizon' of step 'validate' must be at least 1"
    )


def test_a_cluster_is_not_asked_for_what_its_step_would_refuse() -> None:
    from fleetml.engines.kfp.submit import submit

    with pytest.raises(InvalidParameter, match="'horizon' of step 'validate' must be at least 1, got 0"):
        submit(DAGS / "train_forecaster" / "pipeline.yaml", {"horizon": 0}, "http://127.0.0.1:9", project=ROOT)


def test_words_of_searches_are_those_that_the_searches_know() -> None:
    from components.nas.nas import SECOND
    from fleetml.learn.study.settings import PRUNERS, SAMPLERS

    words = {"sampler": SAMPLERS, "pruner": PRUNERS, "second_objective": tuple(SECOND)}
    assert {name: ranges.RANGES[name] for name in words} == {name: {"enum": [*each]} for name, each in words.items()}
    for limit in ("max_parameters", "max_operations"):
        assert ranges.RANGES[limit] == {"minimum": 0}
