"""Ingest, episodes and search of a placement policy, one after the other as in the pipeline."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from components.automl.placement import automl_placement
from components.features.episodes import episodes
from components.ingest.cluster import ingest_cluster
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.learn.placement import cluster

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,1024,2,T4\nn0,4000,512,0,\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np0,1000,10,1,500,T4|V100\np1,500,10,0,0,\n"


def artifacts(folder: Path, *names: str) -> list[Artifact]:
    return [Artifact(name, str(folder / name)) for name in names]


def write(folder: Path, nodes: str = NODES, pods: str = PODS) -> tuple[str, str]:
    (folder / "nodes.csv").write_text(nodes)
    (folder / "pods.csv").write_text(pods)
    return str(folder / "nodes.csv"), str(folder / "pods.csv")


def test_files_become_one_table(tmp_path: Path) -> None:
    data, metrics = artifacts(tmp_path, "data", "metrics")
    ingest_cluster(*write(tmp_path), data, metrics)
    found = pl.read_parquet(data.path)
    assert found.rows() == [
        ("node", "n1", 8000.0, 1024.0, 2, 1000.0, "T4"),
        ("node", "n0", 4000.0, 512.0, 0, 0.0, ""),
        ("pod", "p0", 1000.0, 10.0, 1, 500.0, "T4|V100"),
        ("pod", "p1", 500.0, 10.0, 0, 0.0, ""),
    ]
    assert metrics.metadata == {"nodes": 2, "gpus": 2, "pods": 2}
    assert cluster.from_table(found).nodes.name == ("n0", "n1")


@pytest.mark.parametrize(
    ("nodes", "pods", "words"),
    [
        (NODES.replace("cpu_milli", "cores"), PODS, "need a column for each of .*cpu_milli"),
        (NODES.replace("8000", "many"), PODS, "must be numbers"),
        (NODES.replace("8000", "-1"), PODS, "cores and memory from 0"),
        (NODES.replace("n1", "n0"), PODS, "a name of its own"),
        (NODES.replace(",2,T4", ",9,T4"), PODS, "0 to 8 GPUs"),
        (NODES, PODS.replace("500,T4", "1500,T4"), "GPU milli"),
        (NODES, PODS.replace(",1,500", ",2,500"), "1000 for several"),
        (NODES.replace(",2,T4", ",0,"), PODS, "learnt from nodes with GPUs"),
        (NODES, PODS.replace(",1,500", ",0,0"), "learnt from pods with GPUs"),
    ],
)
def test_what_cannot_be_a_cluster_is_refused(tmp_path: Path, nodes: str, pods: str, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        ingest_cluster(*write(tmp_path, nodes, pods), *artifacts(tmp_path, "data", "metrics"))
    assert not (tmp_path / "data").exists()


def test_nodes_without_pods_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    made = artifacts(tmp_path, "data", "metrics")
    with pytest.raises(InvalidParameter, match="give both"):
        ingest_cluster("nodes.csv", "", *made)
    with pytest.raises(InvalidData, match="can be read"):
        ingest_cluster(str(tmp_path / "none.csv"), str(tmp_path / "none.csv"), *made)


def test_a_policy_is_searched_in_episodes_of_a_synthetic_cluster(tmp_path: Path) -> None:
    data, train, test, metrics = artifacts(tmp_path, "data", "train", "test", "metrics")
    ingest_cluster("cluster://?nodes=20", "", data, metrics)
    episodes(data, train, test, metrics, train_episodes=1, test_episodes=2, seed=0)
    trained, held_out = (cluster.load(artifact.path).orders for artifact in (train, test))
    assert (len(trained), len(held_out)) == (1, 2)
    assert all(trained[0].tolist() != order.tolist() for order in held_out)
    model, leaderboard = artifacts(tmp_path, "model", "leaderboard")
    automl_placement(train, 2, 60, 0, model, leaderboard, metrics)
    assert scorer.described(session(model.path)).kind == "placement"
    found = pl.read_parquet(leaderboard.path)["gpu_allocation"].to_list()
    assert len(found) == 2
    assert found == sorted(found, reverse=True)
    assert model.metadata["train_gpu_allocation"] == found[0]


@pytest.mark.parametrize(("name", "value"), [("train_episodes", 0), ("test_episodes", 0), ("seed", -1)])
def test_episodes_that_cannot_be_are_refused(tmp_path: Path, name: str, value: int) -> None:
    given = {"train_episodes": 1, "test_episodes": 1, "seed": 0, name: value}
    with pytest.raises(InvalidParameter, match=name):
        episodes(*artifacts(tmp_path, "data", "train", "test", "metrics"), **given)


def test_an_empty_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="trials"):
        automl_placement(
            artifacts(tmp_path, "train")[0], 0, 1, 0, *artifacts(tmp_path, "model", "leaderboard", "metrics")
        )
