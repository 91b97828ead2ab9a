"""The asynchronous API: runs are awaited and cancelled, searches find the best, models are registered and served."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml import api
from fleetml.errors import FleetMLError, InvalidData, InvalidParameter
from fleetml.records import Run, runs
from fleetml.serving import deployment
from fleetml.settings import Settings
from fleetml.workflow import optimise
from tests.contracts import rows, training

ROOT = Path(__file__).parents[2]
Spec = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"FLEETML_PROJECT": str(ROOT), "FLEETML_HOME": str(tmp_path / "home")})


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """The contract's two tasks, on a small table."""
    made = training()
    made["tasks"][0]["parameters"]["dataset_path"] = str(rows(tmp_path))
    made["tasks"][1]["parameters"]["n_estimators"] = 5
    return made


def test_a_run_is_awaited_and_the_loop_goes_on_meanwhile(spec: Spec, settings: Settings) -> None:
    async def main() -> tuple[api.RunResult, float]:
        run = await api.submit_ml_workflow(spec, settings=settings)
        longest, last = 0.0, time.monotonic()
        waiting = asyncio.ensure_future(run._wait())
        while not waiting.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert run.done()
        return await run, longest

    result, longest = asyncio.run(main())
    assert longest < 2  # a step alone takes longer than the loop was ever held
    train = result.tasks["train_model"]
    assert train.metrics["accuracy"] > 0.9
    assert Path(train.artifacts["model"]).is_file()
    assert Run(settings.home, result.run_id).read()["state"] == "succeeded"


def test_a_wrong_workflow_is_refused_before_a_run(spec: Spec, settings: Settings) -> None:
    spec["tasks"][1]["dependencies"] = ["preprocess"]
    with pytest.raises(api.InvalidWorkflow, match=r"tasks\[1\]\.dependencies\[0\]"):
        asyncio.run(api.submit_ml_workflow(spec, settings=settings))
    assert not list(runs(settings.home))


def test_a_run_that_fails_raises_what_went_wrong(spec: Spec, settings: Settings) -> None:
    spec["tasks"][0]["parameters"]["target"] = "colour"

    async def main() -> None:
        await (await api.submit_ml_workflow(spec, settings=settings))

    with pytest.raises(api.RunFailed, match=r"preprocess-data: .* the target 'colour' is no column") as failed:
        asyncio.run(main())
    assert failed.value.state == "failed"


def test_cancelling_the_awaiting_task_cancels_the_run(spec: Spec, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "waits"
    folder.mkdir()
    os.mkfifo(folder / "rows.csv")  # reading it waits for a writer that never comes
    spec["tasks"][0]["parameters"]["dataset_path"] = str(folder)

    async def main() -> str:
        run = await api.submit_ml_workflow(spec, settings=settings)
        waiting = asyncio.ensure_future(run._wait())
        await asyncio.sleep(0)  # a task that is cancelled before its first turn never learns what it waits for
        while not (settings.home / "runs" / run.run_id / "steps").exists():
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert run.done()
        return run.run_id

    run_id = asyncio.run(main())
    assert Run(settings.home, run_id).read()["state"] == "cancelled"


def request(spec: Spec, **config: Any) -> dict[str, Any]:
    space = {
        "n_estimators": {"type": "integer", "min": 1, "max": 8},
        "max_depth": {"type": "integer", "min": 1, "max": 4},
        "train_model.algorithm": {"type": "categorical", "values": ["random_forest"]},
    }
    known = {"search_space": space, "max_trials": 3, "objective_metric": "accuracy"}
    return {"workflow_spec": spec, "hyperparameter_config": {**known, **config}}


def test_a_search_over_a_workflow_finds_its_best_trial(spec: Spec, settings: Settings) -> None:
    result = asyncio.run(api.optimize_hyperparameters(request(spec), settings=settings))
    assert len(result.trials) == 3
    assert result.best_value == max(trial.value for trial in result.trials if trial.value is not None)
    assert set(result.best_parameters) == {"n_estimators", "max_depth", "train_model.algorithm"}
    kept = json.loads(result.record.read_text())
    assert kept["best"]["parameters"] == result.best_parameters
    best = Run(settings.home, result.best_run_id)
    figures = best.latest()["train-model"].outcome["artifacts"]["metrics"][0]["metadata"]  # type: ignore[index]
    assert figures["accuracy"] == result.best_value
    inputs = best.latest()["train-model"].inputs["parameters"]  # type: ignore[index]
    assert inputs["n_estimators"] == result.best_parameters["n_estimators"]


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 2), ("log_loss", 0)])
def test_the_best_trial_is_that_of_the_metric_s_direction(spec: Spec, tmp_path: Path, metric: str, best: int) -> None:
    checked = optimise.parse(request(spec, objective_metric=metric))
    trials = [optimise.Trial(at, {"n": at}, value, f"r{at}") for at, value in enumerate((0.1, None, 0.9, 0.5))]
    found = optimise._result(checked, trials, tmp_path / "r.json")
    assert (found.best_run_id, found.best_value) == (f"r{best}", trials[best].value)


def test_a_search_whose_trials_all_fail_says_why(spec: Spec, settings: Settings) -> None:
    spec["tasks"][0]["parameters"]["target"] = "colour"
    with pytest.raises(api.RunFailed, match=r"all 2 failed; the last: .*'colour' is no column"):
        asyncio.run(api.optimize_hyperparameters(request(spec, max_trials=2), settings=settings))


def test_a_metric_that_nobody_tells_is_refused(spec: Spec, settings: Settings) -> None:
    wanted = request(spec, objective_metric="train_model.beauty", direction="maximize")
    with pytest.raises(InvalidParameter, match=r"got 'beauty'; these are told: train_model: accuracy"):
        asyncio.run(api.optimize_hyperparameters(wanted, settings=settings))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"search_space": {}}, "search_space: holds no range"),
        ({"search_space": {"n": {"type": "integer", "min": 1, "max": 2}}}, "search_space.n: no task takes 'n'"),
        (
            {"search_space": {"seed": {"type": "integer", "min": 1, "max": 2}}},
            "seed: is a parameter of preprocess_data",
        ),
        ({"search_space": {"x.seed": {"type": "integer", "min": 1, "max": 2}}}, "'x' is no task"),
        ({"search_space": {"max_depth": {"type": "int"}}}, "max_depth.type must be one of integer, float, categorical"),
        ({"search_space": {"max_depth": {"type": "integer", "min": 3, "max": 1}}}, "min must not be above max"),
        (
            {"search_space": {"max_depth": {"type": "float", "min": 0.5, "max": 2}}},
            "parameters.max_depth: must be an int",
        ),
        ({"search_space": {"l2": {"type": "float", "min": 0.5, "max": 2}}}, "random_forest has no l2"),
        ({"search_space": {"l2": {"type": "float", "min": 0, "max": 2, "scale": "log"}}}, "of a log scale must be"),
        ({"search_space": {"l2": {"type": "float", "min": 0, "max": 2, "scale": "ln"}}}, "scale must be one of"),
        ({"search_space": {"l2": {"type": "categorical", "values": []}}}, "values must be a list of at least one"),
        ({"search_space": {"l2": {"type": "categorical", "min": 3}}}, "got 'min'; remove it"),
        ({"search_space": []}, "must be a mapping of names to ranges"),
        ({"max_trials": 0}, "max_trials: must be a whole number from 1"),
        ({"objective_metric": "speed"}, "direction: maximize or minimize is needed"),
        ({"direction": "up"}, "must be one of them, got 'up'"),
        ({"sampler": "qcm"}, "sampler of a study must be one of auto, random, qmc"),
        ({"objective_metric": "x.accuracy"}, "objective_metric: 'x' is no task"),
        ({"trials": 3}, "hyperparameter_config.trials: is no field here; did you mean 'max_trials'?"),
    ],
)
def test_a_request_that_cannot_be_searched_is_refused(spec: Spec, settings: Settings, config: Any, said: str) -> None:
    with pytest.raises(FleetMLError) as refused:
        asyncio.run(api.optimize_hyperparameters(request(spec, **config), settings=settings))
    assert said in str(refused.value)
    assert not list(runs(settings.home))


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "auto"])
def test_a_search_takes_the_sampler_that_is_asked_for(spec: Spec, sampler: str) -> None:
    checked = optimise.parse(request(spec, sampler=sampler))
    study = optimise._study(checked)
    assert type(study.sampler).__name__ == {"tpe": "TPESampler", "qmc": "QMCSampler", "auto": "AutoSampler"}[sampler]
    for _ in range(3):
        asked = study.ask()
        chosen = {name: dimension.suggest(asked, name) for name, dimension in checked.space.items()}
        assert 1 <= chosen["max_depth"] <= 4
        assert chosen["train_model.algorithm"] == "random_forest"
        study.tell(asked, 1.0)


MODEL = {"name": "fraud", "version": "v1.2.0", "model_type": "classification", "framework": "sklearn"}


def test_a_runs_model_is_registered_and_served(spec: Spec, settings: Settings) -> None:
    async def main() -> None:
        result = await (await api.submit_ml_workflow(spec, settings=settings))
        model = await api.register_ml_model(MODEL, result, settings=settings)
        assert model == api.RegisteredModel("fraud", "1", "v1.2.0")
        with pytest.raises(InvalidParameter, match=r"'v1.2.0' of fraud is version 1"):
            await api.register_ml_model(MODEL, result, settings=settings)
        plan = {"target": "production", "scaling_config": {"min_replicas": 2, "max_replicas": 10}}
        served = await api.deploy_ml_model({"name": "fraud", "version": "v1.2.0"}, plan, settings=settings)
        assert (served.version, served.target) == ("1", "production")
        graph = settings.serving_dir / deployment.read(settings.serving_dir)["fraud"].graph
        assert graph.read_bytes() == Path(result.tasks["train_model"].artifacts["model"]).read_bytes()
        card = deployment.card(graph)
        assert card is not None
        assert card.metadata["deployment"] == {"target": "production", "scaling": plan["scaling_config"]}
        assert await api.deploy_ml_model("fraud", settings=settings) == served

    asyncio.run(main())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s, p: api.register_ml_model({"version": "1"}, settings=s), "model.name: is missing"),
        (lambda s, p: api.register_ml_model({"name": "x"}, settings=s), "model.path: is missing; give the ONNX file"),
        (lambda s, p: api.register_ml_model({"name": "x"}, p / "none", settings=s), "is not there"),
        (lambda s, p: api.register_ml_model({"name": "x"}, p / "rows.csv", settings=s), "must be an ONNX graph"),
        (lambda s, p: api.register_ml_model({"name": 3}, p, settings=s), "model.name: must be a text"),
        (lambda s, p: api.register_ml_model({"name": "x", "run_id": "no"}, settings=s), "no run 'no'"),
        (lambda s, p: api.deploy_ml_model("x", settings=s), "'x' has no version; register one"),
        (lambda s, p: api.deploy_ml_model("x", {"replicas": 1}, settings=s), "deployment.replicas: is no field"),
        (
            lambda s, p: api.deploy_ml_model(
                "x", {"scaling_config": {"min_replicas": 3, "max_replicas": 2}}, settings=s
            ),
            "min_replicas 3 is above max_replicas 2",
        ),
        (lambda s, p: api.deploy_ml_model("x", {"scaling_config": {"min": 3}}, settings=s), "got 'min'; remove it"),
        (lambda s, p: api.deploy_ml_model("x", {"scaling_config": {"min_replicas": "3"}}, settings=s), "got '3'"),
        (lambda s, p: api.deploy_ml_model("x", {"scaling_config": 3}, settings=s), "must be a mapping"),
        (lambda s, p: api.deploy_ml_model("x", {"target": ""}, settings=s), "deployment.target must be a name"),
    ],
)
def test_models_that_cannot_be_are_refused(
    spec: Spec, settings: Settings, tmp_path: Path, call: Callable[..., Any], said: str
) -> None:
    with pytest.raises(FleetMLError) as refused:
        asyncio.run(call(settings, tmp_path))
    assert said in str(refused.value)


def test_a_file_that_is_no_graph_is_not_registered(spec: Spec, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InvalidData):
        asyncio.run(api.register_ml_model(MODEL, tmp_path / "rows.csv", settings=settings))
    assert not (settings.home / "registry").exists()
