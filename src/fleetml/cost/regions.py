"""Where energy is used: the regions that are known, and what their energy costs and emits where nobody says better."""

from __future__ import annotations

from collections.abc import Iterable

from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen


@frozen
class Region:
    """A region of a cloud, and who knows more of it.

    usd_per_kwh, grams_per_kwh: price [USD/kWh] and carbon intensity [g CO2e/kWh], yearly averages; the fallbacks of the
        project's cost catalogue.
    zone: its zone at Electricity Maps. authority, state: its balancing authority and state at the EIA ("": not in the USA).
    """

    name: str
    usd_per_kwh: float
    grams_per_kwh: float
    zone: str = ""
    authority: str = ""
    state: str = ""


NOWHERE = Region("default", 0.12, 400.0)
"""The region of those who name none."""

TABLE = {
    region.name: region
    for region in (
        NOWHERE,
        Region("us-east-1", 0.12, 390.0, "US-MIDA-PJM", "PJM", "VA"),
        Region("us-east-2", 0.11, 450.0, "US-MIDA-PJM", "PJM", "OH"),
        Region("us-west-1", 0.19, 220.0, "US-CAL-CISO", "CISO", "CA"),
        Region("us-west-2", 0.10, 180.0, "US-NW-BPAT", "BPAT", "OR"),
        Region("eu-west-1", 0.22, 250.0, "IE"),
        Region("eu-central-1", 0.28, 380.0, "DE"),
        Region("ap-northeast-1", 0.24, 480.0, "JP-TK"),
        Region("ap-southeast-1", 0.18, 520.0, "SG"),
        Region("ap-southeast-2", 0.21, 650.0, "AU-NSW"),
    )
}


def require(name: str, also: Iterable[str] = (), place: str = "the region") -> None:
    """Raise ConfigurationError, naming the nearest, for a region that is neither in the table nor in `also` (a file's)."""
    known = [*TABLE, *also]
    if name not in known:
        from difflib import get_close_matches

        (nearest, *_) = get_close_matches(name, known, 1, 0.0)
        raise ConfigurationError(
            f"{place} must be known, got {name!r}; the nearest is {nearest}, known are {', '.join(dict.fromkeys(known))}; "
            "take one of them, or add yours to the file FLEETML_COST_FILE"
        )
