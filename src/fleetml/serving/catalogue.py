"""What the registry has, for whoever asked it for something else."""

from fleetml.errors import nearest
from fleetml.redaction import without_passwords
from fleetml.serving.mlflow import Mlflow


class Catalogue(Mlflow):
    """Names in the registry at an MLflow URI. Methods raise Unavailable when it does not answer."""

    def models(self) -> list[str]:
        """Return the names of the models, sorted."""
        if self._database and not self._database.exists():
            return []
        return sorted(each.name for each in self._ask(self._client.search_registered_models, max_results=1000))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, oldest first."""
        if "'" in name or (self._database and not self._database.exists()):
            return []
        found = self._ask(self._client.search_model_versions, f"name = '{name}'", max_results=1000)
        return sorted((str(each.version) for each in found), key=int)


def no_model(uri: str, name: str) -> str:
    """Say that the registry has no such model, which it has, and which is meant; "" where it has it."""
    models = Catalogue(uri).models()
    if name in models:
        return ""
    told = nearest(name, models) or ("; name one of them" if models else "; train the model first")
    return f"the registry {without_passwords(uri)} has no model {name!r}, it has {', '.join(models) or 'none'}{told}"


def no_version(uri: str, name: str, version: str) -> str:
    """Say that the registry has no such version, and which it has."""
    if said := no_model(uri, name):
        return said
    there = ", ".join(Catalogue(uri).versions(name)) or "none"
    return f"the registry {without_passwords(uri)} must know the version, {name} has no version {version}; there are {there}; name another"
