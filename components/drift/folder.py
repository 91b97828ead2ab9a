"""The serving folder as the monitor finds it."""

from pathlib import Path

from fleetml.component import Artifact
from fleetml.errors import ConfigurationError
from fleetml.serving import deployment
from fleetml.serving.deployment import Deployed
from fleetml.serving.rollout import actions


def existing(serving_dir: str) -> Path:
    """Return the serving folder. Raises ConfigurationError where there is none."""
    root = Path(serving_dir)
    if not serving_dir or not root.is_dir():
        raise ConfigurationError(
            f"the serving folder must exist, {serving_dir!r} does not; train and deploy a model, or mend serving_dir"
        )
    return root


def served(serving_dir: str, model_name: str) -> Deployed:
    """Return what is served of a model. Raises ConfigurationError without a serving folder, InvalidParameter where nothing is."""
    return actions.served(existing(serving_dir), model_name)


def find_served(metrics: Artifact, serving_dir: str, model_name: str) -> dict[str, bool]:
    """Return whether there is anything to watch: {"found": False} while no model at all is served, as before the first training.

    Beside served models an unknown one is a mistake; raises as `served` does.
    """
    if not deployment.read(existing(serving_dir)):
        metrics.log(note=f"nothing is served yet, so there is nothing to watch; train {model_name!r} first")
        return {"found": False}
    metrics.log(version=served(serving_dir, model_name).version)
    return {"found": True}
