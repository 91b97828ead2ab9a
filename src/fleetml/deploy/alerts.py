"""Alert rules of a deployment as a file that Prometheus loads, and what its adapter for Kubernetes must tell of pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetml.frozen import frozen

OPERATORS = (">", ">=", "<", "<=")
CONCURRENCY = "model_prediction_concurrency"
"""The metric of a pod that the autoscaler looks at: questions under way, on average. The adapter makes it (`adapter`)."""
_SECONDS = "model_prediction_latency_seconds"
_FAILED = 'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|DATA_LOSS"'


@frozen
class Alert:
    """Fires when `metric` is `operator` `threshold`, over the last `window_minutes`."""

    metric: str
    operator: str
    threshold: float
    window_minutes: int


def _quantile(share: float) -> str:
    return f"1000 * histogram_quantile({share:g}, sum by (model, le) (rate({_SECONDS}_bucket{{MODELS}}[WINDOW])))"


def _share_of_errors() -> str:
    handled, requests = "grpc_server_handled_total", "http_requests_total"
    failed = f'sum(rate({handled}{{{_FAILED}}}[WINDOW])) or vector(0)) + (sum(rate({requests}{{code=~"5.."}}[WINDOW])) or vector(0)'
    every = f"sum(rate({handled}[WINDOW])) or vector(0)) + (sum(rate({requests}[WINDOW])) or vector(0)"
    return f"(({failed})) / ((({every})) > 0)"


METRICS: Mapping[str, tuple[str, str]] = {
    "latency_p50": (_quantile(0.5), "ms, median"),
    "latency_p95": (_quantile(0.95), "ms, 95th percentile"),
    "latency_p99": (_quantile(0.99), "ms, 99th percentile"),
    "error_rate": (_share_of_errors(), "share of the requests that the server failed"),
    "request_rate": (f"sum by (model) (rate({_SECONDS}_count{{MODELS}}[WINDOW]))", "answers a second"),
    "queue_rows": ("max by (model) (max_over_time(model_queue_rows{MODELS}[WINDOW]))", "rows that waited"),
    "drift_score": ("max by (model) (avg_over_time(model_data_drift_score{MODELS}[WINDOW]))", "0 to 1"),
    "accuracy": ("min by (model) (avg_over_time(model_prediction_accuracy{MODELS}[WINDOW]))", "0 to 1"),
}
"""Metric → PromQL, with places for the models and the window, and its unit."""


def rules(name: str, models: Sequence[str], alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return the rule file of a deployment."""
    return {"groups": [{"name": f"fleetml-{name}", "rules": [_rule(name, models, alert) for alert in alerts]}]}


def _rule(name: str, models: Sequence[str], alert: Alert) -> dict[str, Any]:
    query, unit = METRICS[alert.metric]
    chosen = "|".join(each.replace(".", "[.]") for each in models)
    query = query.replace("{MODELS}", f'{{model=~"{chosen}"}}').replace("WINDOW", f"{alert.window_minutes}m")
    of = "" if alert.metric == "error_rate" else " of {{ $labels.model }}"
    said = f'{alert.metric}{of} is {{{{ printf "%.4g" $value }}}} ({unit}), {alert.operator} {alert.threshold:g}'
    return {
        "alert": "Deployment" + "".join(word.capitalize() for word in alert.metric.split("_")),
        "expr": f"{query} {alert.operator} {alert.threshold:g}",
        "labels": {"severity": "warning", "deployment": name},
        "annotations": {
            "summary": f"{said} over {alert.window_minutes} minutes",
            "runbook": "docs/runbooks/DeploymentAlerts.md",
        },
    }


def adapter() -> dict[str, Any]:
    """Return the configuration of prometheus-adapter: by Little's law the seconds of latency a second are what is under way."""
    query = f"sum(rate({_SECONDS}_sum{{<<.LabelMatchers>>}}[1m])) by (<<.GroupBy>>)"
    return {
        "rules": [
            {
                "seriesQuery": f'{_SECONDS}_sum{{namespace!="",pod!=""}}',
                "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
                "name": {"matches": f"^{_SECONDS}_sum$", "as": CONCURRENCY},
                "metricsQuery": query,
            }
        ]
    }
