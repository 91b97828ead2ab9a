"""triggers.yaml: what it means, and how its mistakes are told."""

from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError, FleetMLError
from fleetml.frozen import replace
from fleetml.pipeline import Plan
from fleetml.pipeline import load as load_plan
from fleetml.pipeline.model import Container, Parameter, Step
from fleetml.settings import Settings, Subject
from fleetml.triggers import AssetTrigger, Emit, Triggers, load

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/images.toml").touch()
    return Settings.from_environment({"FLEETML_PROJECT": str(tmp_path), "FLEETML_REGISTRY": "http://mlflow"})


@pytest.fixture
def plan() -> Plan:
    """A pipeline with a required parameter, and a step that puts out a mapping and a text."""
    step = Step(
        name="drifted/tell",
        label="tell",
        component="tell",
        container=Container("fleetml/ml"),
        output_parameters={"event": Parameter("event", "STRUCT"), "text": Parameter("text", "STRING")},
    )
    inputs = {
        "needed": Parameter("needed", "NUMBER_INTEGER"),
        "end": Parameter("end", "STRING", ""),
        "drift": Parameter("drift", "STRUCT", {}),
    }
    return Plan("watch", "0" * 64, inputs, {step.name: step})


def written(folder: Path, text: str) -> Path:
    path = folder / "triggers.yaml"
    path.write_text(text)
    return path


def test_a_missing_file_means_no_triggers(tmp_path: Path, settings: Settings) -> None:
    assert load(tmp_path / "triggers.yaml", settings) == Triggers()


def test_every_entry_is_read_and_variables_are_filled(tmp_path: Path, settings: Settings) -> None:
    path = written(
        tmp_path,
        """
        owner: platform
        schedule: "0  3 * * MON"
        data_interval_end: window_end
        assets: [{uri: "fleetml://drift/x/", parameters: {drift: features}}]
        defaults: {registry: "${FLEETML_REGISTRY}/x", n: 3, deep: [{place: "${FLEETML_REGISTRY}"}]}
        emits: [{step: a/b, output: event, asset: "fleetml://drift/x"}]
        retries: 2
        """,
    )
    found = load(path, settings)
    assert found.defaults == {"registry": "http://mlflow/x", "n": 3, "deep": [{"place": "http://mlflow"}]}
    assert found.assets == (AssetTrigger("fleetml://drift/x", {"drift": "features"}),)
    assert found.emits == (Emit("a/b", "event", "fleetml://drift/x"),)
    assert (found.owner, found.schedule, found.data_interval_end, found.retries) == (
        "platform",
        "0 3 * * MON",
        "window_end",
        2,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red", "unknown entry 'colour'"),
        ("alerts: {email: a@b.c}", "unknown entry 'alerts'; known are pipeline, owner"),
        ("schedule: daily", "five cron fields, got 'daily'"),
        ("schedule: 5", "five cron fields, got 5"),
        ("schedule: '0 3 * *'", "it has 4"),
        ("schedule: '60 3 * * *'", "'60' is no minute"),
        ("schedule: '0 3 * * mon-sunday'", "no day of the week"),
        ("schedule: '0 3-1 * * *'", "'3-1' is no hour"),
        ("schedule: '*/0 3 * * *'", "no minute"),
        ("owner: [a]", "owner must be a text"),
        ("retries: -1", "whole number"),
        ("retries: true", "whole number"),
        ("defaults: [1]", "defaults must be a mapping"),
        ("defaults: {a: '${NOPE}'}", r"unknown \$\{NOPE\}; known are FLEETML_"),
        ("defaults: {a: }", "'a' has no value"),
        ("assets: fleetml://x", "assets must be a list"),
        ("assets: [{url: x}]", "uri and parameters"),
        ("assets: [{uri: drift}]", "is a URI such as"),
        ("assets: [{uri: 's3://drift'}]", "is a URI such as"),
        ("emits: [{step: a, output: b, asset: 'fleetml://drift'}]", "is a URI such as"),
        ("assets: [{uri: 'airflow://x/y'}]", "is a URI such as"),
        ("assets: [{uri: 'x://y/z', parameters: {a: 1}}]", "parameters name keys of its payload, got 1"),
        ("emits: [{step: a}]", "step, output and asset"),
        ("- 1", "the file must be a mapping"),
        ("a: [", "readable YAML"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(tmp_path: Path, settings: Settings, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=said) as raised:
        load(path, settings)
    assert str(path) in str(raised.value)


def test_another_pipeline_s_success_is_an_asset(tmp_path: Path, settings: Settings) -> None:
    text = "assets: [{uri: 'fleetml://cost-model/', parameters: {drift: rates}}, {uri: 'fleetml://train%20it'}]"
    named = AssetTrigger("fleetml://cost-model", {"drift": "rates"}), AssetTrigger("fleetml://train%20it")
    assert load(written(tmp_path, text), settings).assets == named


@pytest.mark.parametrize("schedule", ["* * * * *", "*/15 0-6/2 1,15 jan-mar 7", "0 3 * * MON", "59 23 31 12 0"])
def test_cron_as_it_is_written(tmp_path: Path, settings: Settings, schedule: str) -> None:
    assert load(written(tmp_path, f"schedule: '{schedule}'"), settings).schedule == schedule


@pytest.mark.parametrize(
    ("triggers", "said"),
    [
        (Triggers(defaults={"nothing": 1}), "parameter 'nothing', which watch lacks; it has needed, end"),
        (Triggers(assets=(AssetTrigger("x://y", {"nothing": "k"}),)), "parameter 'nothing'"),
        (Triggers(data_interval_end="nothing"), "parameter 'nothing'"),
        (Triggers(data_interval_end="needed"), "is not a text"),
        (Triggers(defaults={"needed": "three"}), "'needed' must be an integer, got 'three'"),
        (
            Triggers(emits=(Emit("no/step", "event", "x://y"),)),
            "step 'no/step', which watch lacks; it has drifted/tell",
        ),
        (Triggers(emits=(Emit("drifted/tell", "text", "x://y"),)), "'text', which is no STRUCT .*; it has event"),
        (Triggers(emits=(Emit("drifted/tell", "nope", "x://y"),)), "'nope', which is no STRUCT"),
        (Triggers(schedule="0 3 * * 1"), "the schedule starts watch without its parameter 'needed'"),
        (Triggers(assets=(AssetTrigger("x://y"),)), "the asset x://y starts watch without its parameter 'needed'"),
    ],
)
def test_what_does_not_fit_the_pipeline_is_refused(plan: Plan, triggers: Triggers, said: str) -> None:
    with pytest.raises(FleetMLError, match=said) as raised:
        triggers.check(plan, Path("watch/triggers.yaml"))
    assert "watch/triggers.yaml" in str(raised.value)


def test_what_fits_the_pipeline_passes(plan: Plan) -> None:
    asset = AssetTrigger("x://y", {"needed": "count", "drift": "features"})
    good = Triggers(
        assets=(asset,),
        defaults={"end": "now"},
        emits=(Emit("drifted/tell", "event", "x://z"),),
        data_interval_end="end",
    )
    good.check(plan, Path("triggers.yaml"))
    assert good.filled == {"needed", "drift"}


def test_what_was_given_by_hand_holds_for_the_runs_that_start_by_themselves(plan: Plan, settings: Settings) -> None:
    """But not what an event, the schedule or the file itself fills in, nor what is no parameter any more."""
    given = {"needed": 3, "drift": {"old": 1.0}, "end": "2026-01-01", "gone": 1}
    Subject(pipeline="watch", given=given).write(settings.home)
    settings = Settings.from_environment({"FLEETML_PROJECT": str(settings.project)})
    asset = AssetTrigger("x://y", {"drift": "features"})
    known = Triggers(assets=(asset,), defaults={"end": "now"}).remembering(plan, settings)
    assert known.defaults == {"needed": 3, "end": "now"}
    known.check(plan, Path("triggers.yaml"))
    assert Triggers(data_interval_end="end").remembering(plan, settings).defaults["needed"] == 3
    other = replace(plan, name="another")
    assert Triggers().remembering(other, settings) == Triggers()


def test_the_triggers_of_this_project_fit_its_pipelines(settings: Settings) -> None:
    for path in (Path(__file__).parents[2] / "dags").glob("*/triggers.yaml"):
        triggers = load(path, settings)
        if (ir := path.parent / triggers.pipeline).exists():
            triggers.check(load_plan(ir), path)
