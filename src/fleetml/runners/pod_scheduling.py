"""Where a pod may run: the tolerations and affinities of its manifest, from what a step asks for.

Docs: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetml.errors import ConfigurationError

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def tolerations(asked: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tolerations; one setting may hold one or a list of them as JSON."""
    made: list[dict[str, Any]] = []
    for each in asked:
        whole = each.get("tolerationJson", each)
        made += [dict(one) for one in (whole if isinstance(whole, list) else [whole]) if one]
    return made


def affinity(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the affinities to nodes and pods, without empty ones. Raises ConfigurationError for what is none."""
    to_pods = asked.get("podAffinity", ())
    made = {
        "nodeAffinity": _to_nodes(asked.get("nodeAffinity", ())),
        "podAffinity": _to_pods(each for each in to_pods if not each.get("anti")),
        "podAntiAffinity": _to_pods(each for each in to_pods if each.get("anti")),
    }
    return {name: value for name, value in made.items() if value}


def _to_nodes(asked: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    terms: list[Any] = []
    liked: list[Any] = []
    for each in asked:
        required, preferred = _of_json(each["nodeAffinityJson"]) if each.get("nodeAffinityJson") else _of_term(each)
        terms += required
        liked += preferred
    return {
        **({_REQUIRED: {"nodeSelectorTerms": terms}} if terms else {}),
        **({_PREFERRED: liked} if liked else {}),
    }


def _of_json(whole: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    required, preferred = whole.get(_REQUIRED, {}), whole.get(_PREFERRED, [])
    if not isinstance(required, dict) or not isinstance(preferred, list):
        raise ConfigurationError(f"nodeAffinityJson must be a NodeAffinity of Kubernetes, got {whole}; mend it")
    return required.get("nodeSelectorTerms", []), preferred


def _of_term(each: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    term = {key: each[key] for key in ("matchExpressions", "matchFields") if each.get(key)}
    if not term:
        return [], []
    return ([], [{"weight": each["weight"], "preference": term}]) if "weight" in each else ([term], [])


def _to_pods(asked: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for each in asked:
        term = _pod_term(each)
        if "weight" in each:
            made.setdefault(_PREFERRED, []).append({"weight": each["weight"], "podAffinityTerm": term})
        else:
            made.setdefault(_REQUIRED, []).append(term)
    return made


def _pod_term(each: Mapping[str, Any]) -> dict[str, Any]:
    term = {
        "labelSelector": _selector(each, "Pod"),
        "namespaceSelector": _selector(each, "Namespace"),
        "namespaces": each.get("namespaces"),
    }
    return {**{name: value for name, value in term.items() if value}, "topologyKey": each.get("topologyKey", "")}


def _selector(each: Mapping[str, Any], what: str) -> dict[str, Any]:
    found = {
        "matchExpressions": each.get(f"match{what}Expressions"),
        "matchLabels": each.get(f"match{what}Labels"),
    }
    return {name: value for name, value in found.items() if value}
