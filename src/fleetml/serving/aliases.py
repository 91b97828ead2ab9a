"""The aliases of a model's versions in the registry, without MLflow's client: that takes seconds to import.

``champion`` is served, ``challenger`` on its way, ``previous`` what a rollback goes to. A SQLite registry has no server; there
the client is used after all.
"""

from collections.abc import Mapping

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.redaction import without_passwords
from fleetml.serving.deployment import Deployed
from fleetml.serving.registry_http import call

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


def of(served: Deployed | None) -> dict[str, str]:
    """Return what the aliases of a model ought to be, by what is served; "": the alias ought not to be."""
    if served is None:
        return dict.fromkeys((CHAMPION, CHALLENGER, PREVIOUS), "")
    challenger = served.rollout.version if served.rollout else ""
    return {CHAMPION: served.version, CHALLENGER: challenger, PREVIOUS: served.previous}


def read(uri: str, name: str) -> dict[str, str]:
    """Return version by alias; {} for a model that the registry does not know. Raises Unavailable."""
    if uri.startswith("sqlite:"):
        from fleetml.serving.registry import Registry

        return Registry(uri).aliases(name)
    try:
        found = call(uri, "GET", "/registered-models/get", {"name": name})
    except ConfigurationError:
        return {}
    try:
        return {entry["alias"]: str(entry["version"]) for entry in found["registered_model"].get("aliases", [])}
    except (LookupError, TypeError, AttributeError) as error:
        raise Unavailable(
            f"an MLflow server must answer at {without_passwords(uri)}, what does says {str(found)[:100]}; check the address"
        ) from error


def assign(uri: str, name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Make the aliases of `wanted` what it says ("": none); return those that changed.

    Raises Unavailable, and ConfigurationError for a version that the registry does not know.
    """
    now = read(uri, name)
    changed = {alias: version for alias, version in wanted.items() if now.get(alias, "") != version}
    if changed and uri.startswith("sqlite:"):
        from fleetml.serving.registry import Registry

        Registry(uri).assign(name, changed)
        return changed
    for alias, version in changed.items():
        if version:
            call(uri, "POST", "/registered-models/alias", {"name": name, "alias": alias, "version": version})
        else:
            call(uri, "DELETE", "/registered-models/alias", {"name": name, "alias": alias})
    return changed
