"""Which runner runs the steps: the one table of their names, and what an image is to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fleetml.errors import ConfigurationError, UnsupportedConstruct
from fleetml.images import Images
from fleetml.pipeline import Plan, platform
from fleetml.runners import EVERYWHERE, ContainerRunner, Runner
from fleetml.settings import Settings

GRACE = 5.0  # s that a step has to end after it was told to


def choose(settings: Settings, grace: float = GRACE) -> Runner:
    """Return the runner that `settings.runner` names; nothing is started or connected to yet.

    `grace` [s] is how long a step that is stopped may take before it is killed. Raises ConfigurationError for a name
    that is no runner.
    """
    if settings.runner not in RUNNERS:
        raise ConfigurationError(
            f"a runner is one of {', '.join(RUNNERS)}, got {settings.runner!r}; correct --runner or FLEETML_RUNNER"
        )
    return RUNNERS[settings.runner](settings, grace)


def images(settings: Settings, runner: Runner | None = None) -> Images:
    """Return the image table as `runner` (default: the chosen one) reads it: environments, or container images.

    Raises ConfigurationError when the table cannot be read.
    """
    runner = runner or choose(settings)
    pin = runner.pin if isinstance(runner, ContainerRunner) else None
    return Images(settings.project, pin, settings.home / "ir")


def require(plan: Plan, settings: Settings, runner: Runner | None = None) -> None:
    """Raise UnsupportedConstruct where a step asks of its cluster what `runner` (default: the chosen one) does not give."""
    asked = platform.features(plan.document)
    if not asked:
        return
    honoured = EVERYWHERE | getattr(runner or choose(settings), "honours", frozenset())
    for feature, place in asked.items():
        if feature not in honoured:
            raise UnsupportedConstruct(
                f"{place}: {feature} (kfp-kubernetes) is not honoured by the runner '{settings.runner}', only "
                f"{', '.join(sorted(honoured))}; take --runner kubernetes, or take it out of the pipeline"
            )


def _subprocess(settings: Settings, grace: float) -> Runner:
    from fleetml.runners.subprocess import SubprocessRunner

    return SubprocessRunner(settings.step_variables, grace, settings.home / "environments")


def _warm(settings: Settings, grace: float) -> Runner:
    from fleetml.runners.warm import WarmRunner

    return WarmRunner(settings.step_variables, grace, settings.home / "environments")


def _docker(settings: Settings, grace: float) -> Runner:
    from fleetml.runners.docker import DockerRunner

    return DockerRunner(mounts=(*_places(settings), *settings.mounts), passed=settings.step_variables, grace=grace)


def _kubernetes(settings: Settings, grace: float) -> Runner:
    from fleetml.runners.kubernetes import KubernetesRunner
    from fleetml.runners.pod import Place

    place = Place(settings.kubernetes_namespace, settings.kubernetes_claim, settings.home)
    return KubernetesRunner(place, (*_places(settings), *settings.mounts), settings.step_variables, grace)


def _places(settings: Settings) -> tuple[Path, ...]:
    """The folders of this installation that steps get as parameters: a server's are its own affair."""
    database = settings.registry.removeprefix("sqlite:///")
    registry = (Path(database).parent,) if database != settings.registry else ()
    return (settings.serving_dir, settings.feature_store, *registry)


# A runner imports its SDK where it is used, and is imported itself only where it is chosen.
RUNNERS: Mapping[str, Callable[[Settings, float], Runner]] = {
    "subprocess": _subprocess,
    "warm": _warm,
    "docker": _docker,
    "kubernetes": _kubernetes,
}
