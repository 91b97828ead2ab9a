"""What a version tells of the cost of the run that made it, until it was registered."""

from collections.abc import Mapping

from fleetml.cost.estimate import Cost

_FIGURES = ("cpu_seconds", "gpu_seconds", "kwh", "co2_grams", "money")
_WORDS = ("currency", "region", "source", "price_source", "intensity_source")


def metrics(spent: Cost | None) -> Mapping[str, float]:
    """Return ``cost.<figure>``: seconds, kWh, g CO2e, money in the currency of the tags; what nobody knows is left out."""
    found = {f"cost.{name}": getattr(spent, name, None) for name in _FIGURES}
    return {name: value for name, value in found.items() if value is not None}


def tags(spent: Cost | None) -> Mapping[str, str]:
    """Return ``fleetml.cost.<word>`` and what it cost as people read it."""
    if spent is None:
        return {}
    words = {f"fleetml.cost.{name}": getattr(spent, name) for name in _WORDS}
    money = "" if spent.money is None else f"{spent.money:.6f} {spent.currency}"
    return {name: word for name, word in {**words, "fleetml.cost": money}.items() if word}
