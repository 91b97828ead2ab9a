import json
import math
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from components.nas.nas import nas
from components.nas.objective import Objective
from components.nas.space import searched
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import flops, quantile_head, search_space
from fleetml.learn import graph as graphs
from fleetml.learn.architectures import FAMILIES
from fleetml.learn.limits import Limits
from fleetml.learn.neural_trainer import NeuralTrainer
from fleetml.learn.study.trial import Trial

NAMES = ("train", "val", "model", "leaderboard", "metrics", "report")


@pytest.fixture
def made(tmp_path, windows):
    """Return the artifacts of nas, the inputs written."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(300).save(made["train"].path)
    windows(60, seed=1).save(made["val"].path)
    return made


def test_each_family_is_tried_and_the_best_graph_kept(made):
    nas(**made, trials=3, timeout_seconds=60, latency_limit_ms=100.0, seed=0)
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert {row["family"] for row in rows} == {"mlp", "gru", "tcn"}
    assert {row["state"] for row in rows} <= {"trained", "pruned"}
    assert graphs.describe(graphs.load(made["model"].path)).family == rows[0]["family"]
    assert list(made["metrics"].metadata)[:2] == ["family", "validation_mase"]
    page = made["report"].path.read_text()
    assert "<h2>History</h2>" in page
    assert "3 trials (" in page
    assert "validation MASE</text>" in page
    (gru,) = (row for row in rows if row["family"] == "gru")
    shown = page[page.index("family gru") :].partition("<td>")[0]
    assert f"width {json.loads(gru['hyperparameters'])['width']}" in shown
    assert "heads" not in shown


def test_of_a_limit_no_graph_keeps_comes_a_best_effort_that_is_called_one(made):
    nas(**made, trials=3, timeout_seconds=30, latency_limit_ms=1e-6, seed=0)
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert {row["state"] for row in rows} == {"infeasible"}
    nearest = min(rows, key=lambda row: row["latency_ms"])
    assert made["model"].metadata["family"] == nearest["family"]
    assert made["model"].metadata["budget_met"] is False
    assert made["metrics"].metadata["budget_met"] is False


def test_it_runs_as_a_step_and_says_how_far_it_is(made, tmp_path):
    artifacts = {
        name: {"artifacts": [{"name": name, "uri": artifact.uri, "type": {"schemaTitle": "system.Artifact"}}]}
        for name, artifact in made.items()
    }
    executor_input = {
        "inputs": {
            "parameterValues": {"trials": 1, "timeout_seconds": 30, "latency_limit_ms": 100.0, "seed": 0},
            "artifacts": {name: artifacts[name] for name in ("train", "val")},
        },
        "outputs": {
            "artifacts": {name: artifacts[name] for name in NAMES[2:]},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    command = [sys.executable, "-m", "fleetml.component", "components.nas.nas:nas", json.dumps(executor_input)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trial 0: mlp {'width': 128" in done.stdout
    output = json.loads((tmp_path / "executor_output.json").read_text())
    assert output["artifacts"]["model"]["artifacts"][0]["metadata"]["family"] == "mlp"


def search(made, trials=7, **settings):
    """Run nas on few windows; return the leaderboard by trial."""
    given = {"timeout_seconds": 300, "latency_limit_ms": 100.0, "seed": 0, **settings}
    nas(**made, trials=trials, **given)
    return pq.read_table(made["leaderboard"].path).sort_by("trial").to_pylist()


@pytest.fixture
def small(made, windows):
    """The same with windows so few that training takes no time."""
    windows(40).save(made["train"].path)
    windows(20, seed=1).save(made["val"].path)
    return made


def test_no_model_is_over_a_limit_and_none_over_it_is_trained(small):
    free = search(small, trials=3)
    for limit in ("parameters", "operations"):
        most = sorted(row[limit] for row in free)[1]
        rows = search(small, trials=3, **{f"max_{limit}": most})
        for row in rows:
            assert (row["state"] == "infeasible") == (row[limit] > most), row
            if row[limit] > most:
                assert row["validation_mase"] is None
                assert row["reason"] == f"{row[limit]} {limit} exceed the limit of {most:g}"
        assert sum(row["state"] == "infeasible" for row in rows) == 1
        point = quantile_head.taken_off(graphs.load(small["model"].path))
        assert getattr(flops.count(point), limit) <= most


def test_no_model_is_slower_than_the_limit(small):
    """A clock says another thing each time, so what is inside is not known before; what was said is kept to."""
    most = sorted(row["latency_ms"] for row in search(small, trials=3))[1]
    search(small, trials=3, latency_limit_ms=most)
    told = small["model"].metadata  # on a busy machine all may be slower now
    assert told["latency_ms"] <= most or not told["budget_met"]
    for row in pq.read_table(small["leaderboard"].path).to_pylist():
        assert (row["state"] == "infeasible") == (row["latency_ms"] > most), row


def test_the_front_of_error_and_operations_is_told_and_its_most_accurate_end_is_the_model(small):
    rows = search(small, trials=6, second_objective="operations", counted=True, sampler="evolution")
    trained = [row for row in rows if row["state"] == "trained"]
    for row in trained:
        beaten = any(
            other["validation_mase"] <= row["validation_mase"]
            and other["operations"] <= row["operations"]
            and (other["validation_mase"], other["operations"]) != (row["validation_mase"], row["operations"])
            for other in trained
        )
        assert not (row["front"] and beaten)
        assert row["front"] or beaten or "the same network" in row["reason"]
    front = [row for row in rows if row["front"]]
    assert small["metrics"].metadata["front"] == len(front)
    assert small["model"].metadata["validation_mase"] == min(row["validation_mase"] for row in front)


def test_the_front_of_error_and_measured_latency_is_told_and_its_most_accurate_end_is_the_model(small):
    rows = search(small, trials=6, second_objective="latency")
    trained = {row["trial"]: (row["validation_mase"], row["latency_ms"]) for row in rows if row["state"] == "trained"}
    assert len(trained) == 6  # several objectives know no pruner
    for trial, mine in trained.items():
        beaten = any(
            all(a <= b for a, b in zip(other, mine, strict=True)) for other in trained.values() if other != mine
        )
        assert rows[trial]["front"] is not beaten
    assert small["model"].metadata["validation_mase"] == min(error for error, _ in trained.values())
    assert "<h2>Pareto front</h2>" in small["report"].path.read_text()


def test_a_search_without_progress_ends_early(small):
    rows = search(small, trials=40, counted=True, sampler="random", patience=2)
    errors = [math.inf if row["validation_mase"] is None else row["validation_mase"] for row in rows]
    best = errors.index(min(errors))
    assert len(rows) == best + 3 < 40
    assert small["metrics"].metadata["stopped"] == "2 trials brought nothing better (patience)"


def test_without_a_storage_the_study_is_in_the_workspace_where_there_is_one(small, tmp_path):
    before = search(small, trials=1, workspace=str(tmp_path / "shared"))
    after = search(small, trials=2, workspace=str(tmp_path / "shared"))
    assert after[0]["seconds"] == before[0]["seconds"], "it is not done again"
    elsewhere = search(small, trials=1, workspace=str(tmp_path / "shared"), storage=str(tmp_path / "journal"))
    assert elsewhere[0]["seconds"] != before[0]["seconds"], "what is told goes first"


def test_a_counted_search_gives_the_same_model_twice(small):
    def once():
        rows = search(small, trials=4, counted=True, sampler="reinforce", max_operations=150_000)
        kept = ("trial", "family", "hyperparameters", "state", "validation_mase", "operations", "front")
        return small["model"].path.read_bytes(), [[row[name] for name in kept] for row in rows]

    assert once() == once()


def test_a_search_that_was_ended_goes_on_where_it_was(small, tmp_path):
    storage = str(tmp_path / "study.journal")
    before = search(small, trials=2, storage=storage)
    after = search(small, trials=4, storage=storage)
    assert [row["hyperparameters"] for row in after[:2]] == [row["hyperparameters"] for row in before]
    assert len(after) == 4
    assert [row["family"] for row in after] == list(FAMILIES)[:4]


def test_trials_run_side_by_side(small):
    rows = search(small, trials=3, workers=2)
    assert [row["family"] for row in rows] == list(FAMILIES)[:3]
    assert all(row["state"] in ("trained", "pruned") for row in rows)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"second_objective": "size"}, "second_objective must be latency, operations or empty, got 'size'"),
        ({"second_objective": "latency", "counted": True}, "a counted search measures no latency"),
        ({"max_parameters": -1}, "max_parameters of a search must be 0"),
        ({"sampler": "annealing"}, "sampler of a study must be one of"),
        ({"latency_limit_ms": -1.0}, "must be positive"),
        ({"latency_limit_ms": math.nan}, "must be positive"),
        ({"workers": 0}, "workers of a study"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_read(made, settings, said):
    made["train"].path.unlink()
    with pytest.raises(InvalidParameter, match=said):
        search(made, **settings)


def test_a_point_that_means_a_known_network_is_not_trained_again(windows, tmp_path):
    trainer = NeuralTrainer(windows(20), windows(20, seed=1), 0)
    space = searched("auto")
    objective = Objective(trainer, space.point, Limits(parameters=10**6), counted=True)
    trials = [
        Trial(number, {**space.starts[0], "heads": heads}, 0, math.inf, tmp_path / str(number), lambda step, value: "")
        for number, heads in enumerate((0.1, 0.9))  # an mlp has none
    ]
    first, again = (objective(trial) for trial in trials)
    assert first == again
    assert trials[1].constraints == trials[0].constraints
    assert trials[1].notes["reason"] == "the same network as trial 0"
    assert not trials[1].kept_at.exists()


@pytest.mark.parametrize("sampler", ["auto", "evolution"])
def test_every_sampler_begins_with_the_defaults_of_all_families(sampler):
    space = searched(sampler)
    meant = [space.point(start) for start in space.starts]
    assert meant == [(family, pytest.approx(search_space.defaults(FAMILIES[family]))) for family in FAMILIES]
    assert set().union(*space.starts) <= set(space.distributions)


def test_other_data_are_another_study_in_the_same_storage(small, tmp_path, windows):
    storage = str(tmp_path / "study.journal")
    before = search(small, trials=1, storage=storage)
    windows(20, seed=2).save(small["val"].path)
    after = search(small, trials=1, storage=storage)
    assert after[0]["validation_mase"] != before[0]["validation_mase"]
    assert small["model"].metadata["validation_mase"] == after[0]["validation_mase"]


def test_a_graph_that_another_process_has_is_trained_again(small, tmp_path):
    """As with Postgres, where graphs stay with the process that trained them."""
    storage = str(tmp_path / "study.journal")
    search(small, trials=1, counted=True, storage=storage)
    there = small["model"].path.read_bytes()
    shutil.rmtree(f"{storage}.kept")
    search(small, trials=1, counted=True, storage=storage)
    assert small["model"].path.read_bytes() == there
    assert small["model"].metadata["budget_met"] is True
