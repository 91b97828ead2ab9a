"""The contract: what callers depend on stays as it is, and the committed Python is what the compiler makes of it."""

from pathlib import Path

from fleetml.serving.proto.__main__ import ROOT, generate
from fleetml_client import ai_service_pb2 as messages

CONTRACT = {
    "BandwidthRequest": {"vm_id": 1, "historical_metrics": 2, "horizon_minutes": 3, "as_of": 10},
    "BandwidthResponse": {"predictions": 1, "confidence": 2, "model_version": 3},
    "PlacementRequest": {"workload_id": 1, "requirements": 2, "available_nodes": 3},
    "NodeInfo": {
        "node_id": 1,
        "cpu_available": 2,
        "memory_available": 3,
        "gpu_milli_available": 10,
        "gpu_model": 11,
    },
    "PlacementResponse": {"candidates": 1, "overall_confidence": 2, "model_version": 10},
    "PlacementCandidate": {"node_id": 1, "score": 2, "reasoning": 3},
    "AnomalyRequest": {"vm_id": 1, "current_metrics": 2},
    "VMMetrics": {"cpu": 1, "memory": 2, "disk_io": 3, "network_io": 4, "latency": 5, "error_rate": 6},
    "AnomalyResponse": {
        "is_anomaly": 1,
        "score": 2,
        "anomaly_type": 3,
        "severity": 4,
        "model_version": 10,
        "contributions": 11,
    },
}
RPCS = {
    "PredictBandwidth": ("BandwidthRequest", "BandwidthResponse"),
    "OptimizePlacement": ("PlacementRequest", "PlacementResponse"),
    "DetectAnomaly": ("AnomalyRequest", "AnomalyResponse"),
}


def test_names_and_field_numbers_are_those_callers_depend_on() -> None:
    found = messages.DESCRIPTOR.message_types_by_name
    assert {name: {f.name: f.number for f in found[name].fields} for name in CONTRACT} == CONTRACT


def test_the_service_has_its_rpcs() -> None:
    service = messages.DESCRIPTOR.services_by_name["AIService"]
    rpcs = {m.name: (m.input_type.name, m.output_type.name) for m in service.methods}
    assert service.full_name == "novacron.ai.AIService"
    assert RPCS.items() <= rpcs.items()


def test_go_can_generate_from_it() -> None:
    assert messages.DESCRIPTOR.GetOptions().go_package == "fleetml/gen/novacron/ai;ai"


def test_generating_again_leaves_no_difference(tmp_path: Path) -> None:
    generate(tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.py*"))
    assert len(made) == 6
    for path in made:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), f"run make proto ({path})"
