"""OptimizePlacement: over gRPC what the graph says of each node; what cannot be asked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetml.data import cluster as table
from fleetml.errors import InvalidParameter
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.placement import cluster, policies
from fleetml.learn.placement.cluster import Spec
from fleetml.learn.placement.simulator import Room
from fleetml.serving import deployment, placement
from fleetml.serving.backends import choose
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.placement import Node, Question
from fleetml_client import ai_service_pb2 as messages
from fleetml_client.ai_service_pb2_grpc import AIServiceStub

SMALL = cluster.from_table(table.generate("cluster://?nodes=24"))


def put(root: Path, model: onnx.ModelProto, name: str) -> None:
    graph = root / "graph.onnx"
    root.mkdir(parents=True, exist_ok=True)
    graph.write_bytes(model.SerializeToString())
    card = Card(name, "3", deployment.digest(graph), metadata={"confidence": 0.75})
    deployment.install(root, card, {deployment.GRAPH: graph})
    deployment.point(root, name, "3")


@pytest.fixture
def client(tmp_path: Path, serve: Callable[..., str]) -> Client:
    root = tmp_path / "serving"
    put(root, policies.build(SMALL, policies.FGD, "fgd"), "placement")
    return Client(serve(root))


def node(name: str, cores: float, gpus: list[float], model: str = "V100", memory: float = 65536) -> messages.NodeInfo:
    return messages.NodeInfo(
        node_id=name, cpu_available=cores, memory_available=memory, gpu_milli_available=gpus, gpu_model=model
    )


def test_nodes_with_room_are_ranked_as_the_graph_scores_them(client: Client) -> None:
    nodes = [
        node("whole", 96, [1000, 1000]),
        node("begun", 96, [1000, 400]),
        node("full", 96, [100, 200]),
        node("no cores", 1, [1000]),
        node("other model", 96, [400], "T4"),
    ]
    answer = client.optimize_placement(
        "job-1", {"cpu": 4, "memory": 1024, "gpu": 1, "gpu_milli": 400, "gpu_model.V100": 1}, nodes
    )
    # To fill the GPU that is begun loses nothing; to begin a whole one does
    assert [each.node_id for each in answer.candidates] == ["begun", "whole"]
    assert answer.candidates[0].score > answer.candidates[1].score
    assert "leaves 92 cores, 64512 MiB, 1 GPUs; for it fragmentation (+" in answer.candidates[0].reasoning
    assert "against it fragmentation (-" in answer.candidates[1].reasoning
    assert (answer.model_version, answer.overall_confidence) == ("3", 0.75)


def test_what_fits_nowhere_has_no_candidate(client: Client) -> None:
    answer = client.optimize_placement("job-1", {"gpu": 8}, [node("small", 96, [1000])])
    assert (list(answer.candidates), answer.overall_confidence) == ([], 0.0)


def test_a_workload_without_gpu_goes_to_any_node(client: Client) -> None:
    answer = client.optimize_placement("web", {"cpu": 2}, [node("bare", 4, [], ""), node("gpu", 4, [1000])])
    assert {each.node_id for each in answer.candidates} == {"bare", "gpu"}


def test_a_batch_is_answered_in_its_order(client: Client) -> None:
    asked = [
        messages.PlacementRequest(
            workload_id=f"job-{number}", requirements={"cpu": 1}, available_nodes=[node(f"n{number}", 8, [])]
        )
        for number in range(20)
    ]
    import grpc

    stub = AIServiceStub(grpc.insecure_channel(client.address))
    answer = stub.OptimizePlacementBatch(messages.PlacementBatchRequest(requests=asked), timeout=60)
    assert [each.candidates[0].node_id for each in answer.responses] == [f"n{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("needs", "nodes", "words"),
    [
        ({"cpus": 1}, [Node("a", 1, 1)], "got 'cpus'"),
        ({"cpu": float("nan")}, [Node("a", 1, 1)], "must be a number from 0, got nan"),
        ({"cpu": -1}, [Node("a", 1, 1)], "got -1"),
        ({"gpu": 1.5}, [Node("a", 1, 1)], "whole number up to 8"),
        ({"gpu": 9}, [Node("a", 1, 1)], "whole number up to 8"),
        ({"gpu": 1, "gpu_milli": 0}, [Node("a", 1, 1)], "above 0"),
        ({"gpu": 2, "gpu_milli": 500}, [Node("a", 1, 1)], "1000 for several"),
        ({"cpu": 1}, [], "no available_nodes"),
        ({"cpu": 1}, [Node("a", 1, 1), Node("a", 2, 2)], "node_id of its own, got 'a'"),
        ({"cpu": 1}, [Node("", 1, 1)], "node_id of its own"),
        ({"cpu": 1}, [Node("a", float("inf"), 1)], "cpu_available of node a"),
        ({"cpu": 1}, [Node("a", 1, -1)], "memory_available of node a"),
        ({"cpu": 1}, [Node("a", 1, 1, (1001,))], "gpu_milli_available of node a.*to 1000"),
        ({"cpu": 1}, [Node("a", 1, 1, (1,) * 9)], "at most 8 GPUs"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(needs: dict[str, float], nodes: list[Node], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        Question("job", needs, nodes)


def test_a_placement_without_a_workload_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="empty workload_id"):
        Question("", {"cpu": 1}, [Node("a", 1, 1)])


def test_a_question_asks_in_the_units_of_the_simulator() -> None:
    question = Question(
        "job", {"cpu": 1.5, "memory": 10, "gpu": 2, "gpu_model.B": 1, "gpu_model.A": 1}, [Node("a", 1, 1)]
    )
    assert question.spec == Spec(1500, 10, 2, 1000, "A|B")


def test_a_graph_of_another_kind_is_refused_and_the_log_names_the_workload() -> None:
    about = placement.KIND.open(
        "placement", choose("cpu").load(policies.build(SMALL, policies.FGD, "fgd").SerializeToString())
    )
    inputs = {"candidates": np.array([[500, 10, 1, 300, *[0] * 20]] * 4, np.float32)}
    assert placement.KIND.columns(about)[:2] == ("candidates", "pod_cpu")
    assert placement.KIND.features(about, [inputs]).tolist() == [[4, 500, 10, 1, 300]]
    broken = policies.build(SMALL, policies.FGD, "fgd")
    del broken.metadata_props[:]
    with pytest.raises(InvalidGraph, match="metadata"):
        placement.KIND.open("placement", choose("cpu").load(broken.SerializeToString()))


def test_room_sorts_gpus_as_the_graph_was_trained_on() -> None:
    room = placement._room([Node("a", 2, 10, (100, 900, 400))])
    assert isinstance(room, Room)
    assert room.gpus[0, :4].tolist() == [900, 400, 100, 0]
    assert room.cpu.tolist() == [2000]
