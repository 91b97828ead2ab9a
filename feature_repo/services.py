"""Feature services are versioned: their name holds a digest of what their features mean.

A model keeps the name of the service it was trained on; it is served only where the store still has that service and
means the same by it.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from feast import FeatureStore, OnDemandFeatureView
from feast.errors import FeastObjectNotFoundException

from fleetml.errors import ConfigurationError


def versioned(name: str, views: Iterable[Any]) -> str:
    """Return ``<name>-<12 hexadecimal digits>``: SHA-256 of the views' entities, features, types, TTLs, on-demand code."""
    meaning = json.dumps([name, sorted((_meaning(view) for view in views), key=json.dumps)], sort_keys=True)
    return f"{name}-{hashlib.sha256(meaning.encode()).hexdigest()[:12]}"


def current(service: str, store: FeatureStore) -> str:
    """Return the versioned name that a service in the store has by what the store's views mean now."""
    held = store.get_feature_service(service).feature_view_projections
    name = service.rpartition("-")[0]
    return versioned(name, [_view(store, projection.name) for projection in held])


def require(service: str, store: FeatureStore, place: object) -> None:
    """Raise ConfigurationError when the store at `place` lacks a service, or means something else by its features."""
    try:
        found = current(service, store)
    except FeastObjectNotFoundException:
        known = [known.name for known in store.list_feature_services()]
        raise ConfigurationError(
            f"the feature store {place} must have the feature service {service} that the model was trained on, it has "
            f"{', '.join(sorted(known)) or 'none'}; materialise features with the code of that model, or train it again"
        ) from None
    if found != service:
        raise ConfigurationError(
            f"the feature service {service} that the model was trained on has changed in {place}: it is {found} now; "
            "train the model again, or materialise features with its code"
        )


def _meaning(view: Any) -> dict[str, Any]:
    features = sorted((field.name, str(field.dtype)) for field in view.features)
    if isinstance(view, OnDemandFeatureView):
        sources = sorted(view.source_feature_view_projections)
        code = getattr(view.feature_transformation, "udf_string", "")
        return {"view": view.name, "features": features, "sources": sources, "code": code}
    ttl = view.ttl.total_seconds() if view.ttl else 0
    return {"view": view.name, "features": features, "entities": sorted(view.entities), "ttl": ttl}


def _view(store: FeatureStore, name: str) -> Any:
    try:
        return store.get_feature_view(name)
    except FeastObjectNotFoundException:
        return store.get_on_demand_feature_view(name)
