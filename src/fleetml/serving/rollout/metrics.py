"""What Prometheus is told of rollouts, at the controller's own port."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge

from fleetml.serving.deployment import Rollout

SHARE = Gauge("model_rollout_share", "Share of the VMs that the version on its way has", ["model", "version", "mode"])
P_VALUE = Gauge(
    "model_rollout_p_value",
    "Always valid p-value that it is better, that it is worse",
    ["model", "version", "than_served"],
)
CHANGE = Gauge("model_rollout_error_change", "Its error over the served version's, less 1", ["model", "version"])
VMS = Gauge("model_rollout_vms", "VMs that both versions were judged by", ["model", "version"])
DECISIONS = Counter("model_rollout_decisions", "What was decided", ["model", "action"])
LOOKED = Gauge("model_rollout_look_timestamp_seconds", "When the controller looked last")
_OF_A_ROLLOUT = (SHARE, P_VALUE, CHANGE, VMS)


def forget() -> None:
    """Forget all rollouts: those under way are told again."""
    for gauge in _OF_A_ROLLOUT:
        gauge.clear()


def tell(name: str, rollout: Rollout, found: Mapping[str, Any]) -> None:
    """Tell what the last look at a rollout found (`controller.summary`)."""
    SHARE.labels(name, rollout.version, rollout.mode).set(rollout.share)
    VMS.labels(name, rollout.version).set(found["vms"])
    for side in ("better", "worse"):
        P_VALUE.labels(name, rollout.version, side).set(found["p"][side])
    if found["error"]["change"] is not None:
        CHANGE.labels(name, rollout.version).set(found["error"]["change"])
