"""The serving folder as the monitor finds it."""

from pathlib import Path

from fleetml.errors import ConfigurationError


def existing(serving_dir: str) -> Path:
    """Return the serving folder. Raises ConfigurationError where there is none."""
    root = Path(serving_dir)
    if not serving_dir or not root.is_dir():
        raise ConfigurationError(
            f"the serving folder must exist, {serving_dir!r} does not; train and deploy a model, or mend serving_dir"
        )
    return root
