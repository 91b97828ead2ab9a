import onnx
import pytest
import torch

from fleetml.learn import export, flops
from fleetml.learn.architectures import FAMILIES, Architecture
from fleetml.learn.builder import Builder
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.neural import Network


def counted(nodes):
    """Return the cost of a graph over history [batch, 6], which `nodes` adds to."""
    graph = Builder()
    nodes(graph)
    return flops.count(graph.model({"history": ["batch", 6]}, {"out": ["batch", None]}, "test"))


@pytest.mark.parametrize(
    ("nodes", "operations", "parameters"),
    [
        (lambda g: g.op("MatMul", "history", g.constant([[1.0] * 3] * 6), name="out"), 2 * 6 * 3, 18),
        (
            lambda g: g.op("Gemm", "history", g.constant([[1.0] * 6] * 3), g.constant([0.0] * 3), transB=1, name="out"),
            39,
            21,
        ),
        (lambda g: g.op("Relu", "history", name="out"), 6, 0),
        (lambda g: g.op("Reshape", "history", g.integers(-1, 6), name="out"), 0, 0),
        (lambda g: g.op("Softmax", "history", name="out"), 30, 0),
        (lambda g: g.op("Identity", g.sorted("history", 6), name="out"), 6 * 3, 0),
        (lambda g: g.op("Identity", g.mean("history"), name="out"), 6, 0),
    ],
)
def test_operations_by_hand(nodes, operations, parameters):
    assert counted(nodes) == flops.Cost(parameters, operations)


def test_a_convolution_and_a_recurrent_layer_by_hand(meta):
    """On 12 steps: the stem reads patches of six, so two positions; a GRU with patches of six has two steps."""
    tcn = flops.count(export.from_torch(Network(meta, Architecture("tcn", 8, 1, kernel=3)), meta, {}))
    less = flops.count(export.from_torch(Network(meta, Architecture("tcn", 8, 1, kernel=2)), meta, {}))
    assert tcn.operations - less.operations == 2 * 8 * 2 * 8  # one tap more: 8 x 8 multiply-adds at two positions
    assert tcn.parameters - less.parameters == 8 * 8
    wide, narrow = (
        flops.count(export.from_torch(Network(meta, Architecture("gru", 8, 1, patch=patch)), meta, {}))
        for patch in (6, 3)
    )
    # W [24, patch] and R [24, 8] at 2 and at 4 steps
    assert narrow.operations - wide.operations >= 2 * (4 * 24 * (3 + 8) - 2 * 24 * (6 + 8))


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_network_and_a_wider_one_costs_more(meta, family):
    costs = []
    for width in (8, 16):
        network = Network(meta, Architecture(family, width, 2))
        costs.append(flops.count(export.from_torch(network, meta, {})))
        own = sum(parameter.numel() for parameter in network.parameters())
        # The exporter keeps equal ones (of norms, untrained) once; a few constants are no parameters
        assert 0.95 * own <= costs[-1].parameters <= 1.1 * own + 40
    assert costs[1].operations > 1.3 * costs[0].operations
    torch.manual_seed(1)
    assert flops.count(export.from_torch(Network(meta, Architecture(family, 16, 2)), meta, {})) == costs[1]


def test_a_graph_that_does_not_run_is_refused():
    node = onnx.helper.make_node("MatMul", ["history", "history"], ["out"])
    graph = onnx.helper.make_graph(
        [node],
        "test",
        [onnx.helper.make_tensor_value_info("history", onnx.TensorProto.FLOAT, ["batch", 6])],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
    )
    with pytest.raises(InvalidGraph, match="to be counted"):
        flops.count(onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)]))
