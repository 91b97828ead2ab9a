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
        ("automl_patience", -1, "parameter 'automl_patience' of step 'automl' must be at least 0, got -1"),
        ("nas_patience", -1, "parameter 'nas_patience' of step 'nas' must be at least 0, got -1"),
        ("hpo_patience", -1, "parameter 'hpo_patience' of step 'hpo' must be at least 0, got -1"),
        ("hpo_max_operations", -1, "parameter 'hpo_max_operations' of step 'hpo' must be at least 0, got -1"),
        ("memory_budget_mb", -1.0, "parameter 'memory_budget_mb' of step 'gate' must be at least 0, got -1.0"),
        ("nas_sampler", "gpp", "parameter 'nas_sampler' of step 'nas' must be one of auto, random, qmc,"),
        ("nas_workers", 0, "parameter 'nas_workers' of step 'nas' must be at least 1, got 0"),
        ("nas_max_parameters", -1, "parameter 'nas_max_parameters' of step 'nas' must be at least 0, got -1"),
        ("nas_max_operations", -1, "parameter 'nas_max_operations' of step 'nas' must be at least 0, got -1"),
        ("nas_second_objective", "size", "must be empty or one of latency, operations, got 'size'"),
        (
            "hpo_pruner",
            "medain",
            "of step 'hpo' must be one of none, median, halving, hyperband, wilcoxon, got 'medain'",
        ),
        ("compress_target_ratio", -1.0, "parameter 'compress_target_ratio' of step 'compress' must be at least 0"),
        ("compress_target_latency_ms", -1.0, "'compress_target_latency_ms' of step 'compress' must be at least 0"),
        ("compress_max_operations", -1, "'compress_max_operations' of step 'compress' must be at least 0"),
        ("compress_trials", 0, "parameter 'compress_trials' of step 'compress' must be at least 1, got 0"),
        ("compress_seconds", 0.0, "parameter 'compress_seconds' of step 'compress' must be above 0, got 0.0"),
        ("compress_precision", "int4", "'compress_precision' of step 'compress' must be one of int8, fp16, got 'int4'"),
        (
            "study_storage",
            "studies/journal",
            "must be empty, a journal's absolute path, for steps have folders of their own",
        ),
        ("study_storage", "mysql://host/db", "got mysql://…; correct it"),
    ],
)
def test_what_cannot_be_of_a_forecaster_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(forecaster(), {name: value})
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "metric",
            "acuracy",
            "parameter 'metric' of step 'automl-tabular' must be empty or one of accuracy, f1, roc_auc,",
        ),
        ("metric", "acuracy", "got 'acuracy'; did you mean 'accuracy'?"),
        ("test_split", 0.0, "parameter 'test_split' of step 'prepare' must be above 0, got 0.0; give a greater number"),
        ("test_split", 1.0, "parameter 'test_split' of step 'prepare' must be below 1, got 1.0; give a smaller number"),
    ],
)
def test_what_cannot_be_of_a_table_is_refused_before_it_is_read(name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(load(DAGS / "train_tabular" / "pipeline.yaml"), {name: value})
    assert told in str(refused.value)


def test_metrics_of_tables_are_those_that_automl_knows() -> None:
    from fleetml.learn.algorithms import OF_OBJECTIVE

    known = dict.fromkeys(metric for metrics in OF_OBJECTIVE.values() for metric in metrics)
    words = ranges.of(load(DAGS / "train_tabular" / "pipeline.yaml"))["metric"]["enum"]
    assert sorted(words) == sorted(["", *known])


def test_a_metric_of_telemetry_is_none_of_a_table() -> None:
    plan = load(DAGS / "train_window_anomaly" / "pipeline.yaml")
    assert "metric" not in ranges.of(plan)
    ranges.check(plan, {"metric": "cpu_usage"})


@pytest.mark.parametrize("name", ["nas_second_objective", "hpo_pruner", "compress_precision", "nas_sampler"])
def test_what_the_form_offers_is_what_is_taken(name: str) -> None:
    plan = forecaster()
    for word in ranges.of(plan)[name]["enum"]:
        ranges.check(plan, {name: word})


@pytest.mark.parametrize("place", ["", "/data/studies/journal", "postgresql://user@host:5432/studies"])
def test_a_study_is_kept_in_a_journal_or_in_postgres(place: str) -> None:
    ranges.check(forecaster(), {"study_storage": place})


@pytest.mark.parametrize("address", ["u:geheim@host/db", "host/db?password=geheim", "u:geheim@host:5432/db?a=b"])
def test_a_password_is_refused_before_it_is_recorded_and_not_told(address: str) -> None:
    with pytest.raises(InvalidParameter, match="postgresql:// without a password") as refused:
        ranges.check(forecaster(), {"study_storage": f"postgresql://{address}"})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"counted": True, "nas_second_objective": "latency"},
            "parameters 'counted' (True) and 'nas_second_objective' (latency) of step 'nas' exclude each other: a counted",
        ),
        (
            {"counted": True, "compress_target_latency_ms": 0.5},
            "parameters 'counted' (True) and 'compress_target_latency_ms' (0.5) of step 'compress' exclude each other",
        ),
        (
            {"nas_second_objective": "operations", "nas_sampler": "cmaes"},
            "'nas_second_objective' (operations) and 'nas_sampler' (cmaes) of step 'nas' exclude each other: this sampler",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_the_first_step(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(forecaster(), given)
    assert told in str(refused.value)
    ranges.check(forecaster(), given, kept=["nas", "compress"])
    for name in given:  # each by itself is taken
        ranges.check(forecaster(), {name: given[name]})


def test_a_limit_of_operations_of_hpo_wants_a_counted_search() -> None:
    plan = forecaster()
    with pytest.raises(
        InvalidParameter, match=r"'counted' \(False\) and 'hpo_max_operations' \(9\) of step 'hpo' exclude"
    ):
        ranges.check(plan, plan.bind({"hpo_max_operations": 9}))
    ranges.check(plan, plan.bind({"hpo_max_operations": 9, "counted": True}))
    ranges.check(plan, plan.bind({"nas_max_operations": 9}))


def test_samplers_that_contradict_two_objectives_are_those_that_a_study_refuses() -> None:
    from fleetml.learn.study.settings import SAMPLERS, StudySettings

    def refused(sampler: str) -> bool:
        try:
            StudySettings(1, sampler=sampler, directions=("minimize", "minimize"))
        except InvalidParameter:
            return True
        return False

    (known,) = (both["sampler"]["enum"] for _, both, _ in ranges.CONTRADICTIONS if "sampler" in both)
    assert known == [sampler for sampler in SAMPLERS if refused(sampler)]


@pytest.mark.parametrize(
    ("pipeline", "name", "value", "told"),
    [
        ("train_anomaly", "compress_target_ratio", -1.0, "of step 'compress-anomaly' must be at least 0"),
        ("train_anomaly", "compress_target_latency_ms", -1.0, "of step 'compress-anomaly' must be at least 0"),
        ("train_anomaly", "compress_trials", 0, "of step 'compress-anomaly' must be at least 1"),
        ("train_window_anomaly", "false_alarms_per_vm_week", -1.0, "must be at least 0, got -1.0"),
        ("transfer_forecaster", "checkpoint_dir", "here", "must be empty or an absolute path, for steps have folders"),
    ],
)
def test_what_cannot_be_of_other_pipelines_is_refused(pipeline: str, name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        ranges.check(load(DAGS / pipeline / "pipeline.yaml"), {name: value})
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
