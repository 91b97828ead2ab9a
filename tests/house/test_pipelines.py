"""The project's own pipelines: what their IRs must say, whatever they are made of."""

from pathlib import Path

import pytest

from fleetml import triggers
from fleetml.pipeline import load
from fleetml.pipeline.model import PipelineInput, Template
from fleetml.settings import Settings

DAGS = Path(__file__).parents[2] / "dags"
REGISTER = "components.register.register:register"


@pytest.mark.parametrize(
    "name",
    [
        "train_forecaster",
        "transfer_forecaster",
        "federated_forecaster",
        "train_placement",
        "train_anomaly",
        "train_window_anomaly",
    ],
)
def test_a_registered_model_names_the_run_that_made_it(name: str) -> None:
    plan = load(DAGS / name / "pipeline.yaml")
    (register,) = (step for step in plan.steps.values() if REGISTER in step.container.command)
    assert register.parameters["run_id"] == Template("{{$.pipeline_job_uuid}}", {})


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *(("train_forecaster", step) for step in ("automl", "nas", "hpo", "compress", "gate")),
        *(("train_anomaly", step) for step in ("train-anomaly", "compress-anomaly", "gate-anomaly")),
        ("transfer_forecaster", "gate-transferred"),
        *(("cost_model", step) for step in ("fit-power", "recommend")),
    ],
)
def test_what_a_search_can_do_is_a_parameter_of_its_pipeline(name: str, step: str) -> None:
    plan = load(DAGS / name / "pipeline.yaml")
    given = plan.steps[step].parameters
    fixed = {each for each, source in given.items() if not isinstance(source, PipelineInput)}
    assert fixed <= {"workspace", "champion_version"}  # a folder, which keeps results from the cache; what a step found


@pytest.mark.parametrize(
    "folder", sorted(each.parent for each in DAGS.glob("*/pipeline.yaml")), ids=lambda each: each.name
)
def test_whoever_gives_no_registry_and_no_folder_gets_those_of_the_settings(folder: Path) -> None:
    plan, settings = load(folder / "pipeline.yaml"), Settings.from_environment({"FLEETML_PROJECT": str(DAGS.parent)})
    known = triggers.load(folder / triggers.FILE, settings).defaults
    for name in {"registry", "serving_dir"} & set(plan.inputs):
        assert known[name] == settings.defaults()[f"FLEETML_{name.upper()}"]


def test_the_daily_cost_model_is_of_the_home_s_measurements_once_there_are_some(tmp_path: Path) -> None:
    settings = Settings.from_environment({"FLEETML_PROJECT": str(DAGS.parent), "FLEETML_HOME": str(tmp_path / "home")})

    def source() -> str:
        return str(triggers.load(DAGS / "cost_model" / triggers.FILE, settings).defaults["source"])

    assert source() == ""
    (tmp_path / "elsewhere").mkdir()
    settings.home.mkdir(exist_ok=True)
    (settings.home / "measurements").symlink_to(tmp_path / "elsewhere")
    assert source() == str(settings.home / "measurements")
