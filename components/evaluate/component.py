"""The KFP edges of evaluate and gate."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def evaluate(
    test: dsl.Input[dsl.Dataset],
    automl_model: dsl.Input[dsl.Model],
    nas_model: dsl.Input[dsl.Model],
    hpo_model: dsl.Input[dsl.Model],
    compressed_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge the candidates, the naive forecasts and the champion on the same held-out windows."""
    return step("components.evaluate.evaluate:evaluate")


@dsl.container_component
def gate(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    automl_model: dsl.Input[dsl.Model],
    nas_model: dsl.Input[dsl.Model],
    hpo_model: dsl.Input[dsl.Model],
    compressed_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    shorter_horizon: bool = False,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget pass if it beats the champion."""
    return step("components.evaluate.gate:gate")


@dsl.container_component
def judge_placement(
    test: dsl.Input[dsl.Dataset],
    automl_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    kind: str = "placement",
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge a placement policy beside the plain ones and the champion in the same fillings of the cluster."""
    return step("components.evaluate.judge:judge")


@dsl.container_component
def gate_placement(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    automl_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 1.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget pass if it beats the champion."""
    return step("components.evaluate.gate:gate")


@dsl.container_component
def judge_anomaly(
    test: dsl.Input[dsl.Dataset],
    trained_model: dsl.Input[dsl.Model],
    compressed_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    kind: str = "anomaly",
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge the detectors beside the plain ones and the champion on incidents put into the same rows."""
    return step("components.evaluate.judge:judge")


@dsl.container_component
def gate_anomaly(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    trained_model: dsl.Input[dsl.Model],
    compressed_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 0.1,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget of an edge device pass if it beats the champion."""
    return step("components.evaluate.gate:gate")


@dsl.container_component
def judge_window_anomaly(
    test: dsl.Input[dsl.Dataset],
    trained_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    kind: str = "window_anomaly",
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge the window detector beside the plain ones and the champion on incidents put into the same series."""
    return step("components.evaluate.judge:judge")


@dsl.container_component
def gate_window_anomaly(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    trained_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 50.0,
    size_budget_mb: float = 5.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    other_inputs: bool = False,
    false_alarms_per_vm_week: float = 50.0,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget pass if it beats the champion."""
    return step("components.evaluate.gate:gate")


@dsl.container_component
def evaluate_federated(
    test: dsl.Input[dsl.Dataset],
    federated_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge the federated model beside the naive forecasts and the champion."""
    return step("components.evaluate.evaluate:evaluate")


@dsl.container_component
def gate_federated(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    federated_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget pass if it beats the champion."""
    return step("components.evaluate.gate:gate")


@dsl.container_component
def evaluate_transferred(
    test: dsl.Input[dsl.Dataset],
    transferred_model: dsl.Input[dsl.Model],
    scratch_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
) -> dsl.ContainerSpec:
    """Judge the transferred model beside one of the same data alone, the naive forecasts and the champion."""
    return step("components.evaluate.evaluate:evaluate")


@dsl.container_component
def gate_transferred(
    scores: dsl.Input[dsl.Artifact],
    test: dsl.Input[dsl.Dataset],
    transferred_model: dsl.Input[dsl.Model],
    scratch_model: dsl.Input[dsl.Model],
    champion_model: dsl.Input[dsl.Model],
    promote: dsl.OutputPath(bool),  # type: ignore[valid-type]
    winner: dsl.OutputPath(str),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
) -> dsl.ContainerSpec:
    """Let the best candidate within the budget pass if it beats the champion."""
    return step("components.evaluate.gate:gate")
