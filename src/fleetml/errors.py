"""The one exception tree of FleetML: what a user may cause, said in words a user can act on."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question after the known name that is meant, "" where none is near."""
    import difflib

    names = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    return f"; did you mean {names[found[0]]!r}?" if found else ""


class FleetMLError(Exception):
    """A mistake or a limit the user can do something about; never shown with a traceback.

    The message states the rule, the value that broke it, the place and the remedy, in that order.
    """

    exit_code = 1


class InvalidPipeline(FleetMLError):
    """The IR is malformed, contradicts itself or refers to something that is not there."""


class UnsupportedConstruct(InvalidPipeline):
    """The IR is valid, but holds a construct that this engine or runner does not run."""


class InvalidParameter(FleetMLError):
    """A pipeline parameter is unknown, missing or of the wrong type."""

    exit_code = 2


class InvalidData(FleetMLError):
    """The user's data break the documented schema."""


class ConfigurationError(FleetMLError):
    """A setting, an environment or a file of the installation is missing or wrong."""

    exit_code = 2


class StepFailed(FleetMLError):
    """A step ended with a non-zero status."""


class OverBudget(FleetMLError):
    """The run, or all of its pipeline's in this month, cost as much as its budget allows."""


class Unavailable(FleetMLError):
    """A server or resource that is needed does not answer (port taken, disk full, registry down)."""
