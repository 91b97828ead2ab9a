"""triggers.yaml: what it means, and how its mistakes are told."""

from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError
from fleetml.pipeline import load as load_plan
from fleetml.settings import Settings
from fleetml.triggers import AssetTrigger, Emit, Triggers, load

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/images.toml").touch()
    return Settings.from_environment({"FLEETML_PROJECT": str(tmp_path), "FLEETML_REGISTRY": "http://mlflow"})


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
        schedule: "0 3 * * MON"
        data_interval_end: window_end
        assets: [{uri: "fleetml://drift/x", parameters: {drift: features}}]
        defaults: {registry: "${FLEETML_REGISTRY}/x", n: 3}
        emits: [{step: a/b, output: event, asset: "fleetml://drift/x"}]
        retries: 2
        """,
    )
    found = load(path, settings)
    assert found.defaults == {"registry": "http://mlflow/x", "n": 3}
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
        ("colour: red", "unknown entries colour"),
        ("schedule: daily", "five cron fields, got 'daily'"),
        ("schedule: '0 3 * *'", "five cron fields"),
        ("retries: -1", "whole number"),
        ("retries: true", "whole number"),
        ("defaults: [1]", "defaults must be a mapping"),
        ("defaults: {a: '${NOPE}'}", r"unknown \$\{NOPE\}"),
        ("assets: fleetml://x", "assets must be a list"),
        ("assets: [{url: x}]", "uri and parameters"),
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


def test_what_the_pipeline_lacks_is_refused() -> None:
    plan = load_plan(PIPELINES / "branches.yaml")
    place = Path("triggers.yaml")
    with pytest.raises(ConfigurationError, match="no nothing"):
        Triggers(defaults={"nothing": 1}).check(plan, place)
    with pytest.raises(ConfigurationError, match="step 'no/step'"):
        Triggers(emits=(Emit("no/step", "x", "y"),)).check(plan, place)
    Triggers().check(plan, place)
