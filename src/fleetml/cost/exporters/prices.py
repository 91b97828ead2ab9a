"""What energy and cores cost now, and what energy emits: told once in a while, and the same until then.

| found | result |
|---|---|
| no price of energy in the currency of all | what needs one is absent; compute cost, which does not, and CO2 are told |
| no carbon intensity | CO2 is absent |
| an API of prices that does not answer, or lies | the next source says (`fleetml.cost.tariffs`); told |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetml.cost.catalogue import Prices
from fleetml.cost.exporters.text import Rates
from fleetml.cost.settings import CostSettings
from fleetml.cost.tariffs import Tariffs

SECONDS = 300.0
"""How long what was told holds; prices are by the hour, and a file of them may change."""
PREFIX = "FLEETML_COST_"
_GPU, _CPU = f"{PREFIX}PRICE_PER_GPU_HOUR", f"{PREFIX}PRICE_PER_CORE_HOUR"


class Current:
    """The rates of a region now."""

    def __init__(self, variables: Mapping[str, str], home: Path, token: Callable[[str], str]) -> None:
        """`variables`: those of `CostSettings`; APIs' answers are kept in `home`. Raises ConfigurationError."""
        per_gpu = variables.get(_GPU)
        if not per_gpu and _CPU in variables:  # a GPU core costs as a CPU core does, unless it is said
            variables = {**variables, _GPU: variables[_CPU]}
        self.faults: tuple[str, ...] = ()
        self._settings = CostSettings.from_environment(variables)
        self._per_gpu = self._settings.rates.price_per_gpu_hour if per_gpu else None
        self._home, self._token = home, token
        self._until = 0.0
        self._rates = self()

    def __call__(self) -> Rates:
        """Return the rates; asks for at most as long as tariffs do, every `SECONDS`."""
        if time.monotonic() < self._until:
            return self._rates
        told: list[str] = []
        now = time.time()
        tariff = Tariffs(self._settings, self._home, self._token, told.append).over(now, now)
        self._rates = Rates(
            Prices(
                per_kwh=tariff.price or 0.0,
                per_core_hour=self._settings.rates.price_per_core_hour,
                currency=self._settings.currency,
                grams_per_kwh=tariff.intensity or 0.0,
                per_gpu_hour=self._per_gpu,
            ),
            priced=tariff.price is not None,
            weighed=tariff.intensity is not None,
        )
        if tariff.price is None:
            told.append(
                f"nobody knows the price of energy of {tariff.region} in {tariff.currency}: what needs it is absent"
            )
        if tariff.intensity is None:
            told.append(f"nobody knows the carbon intensity of {tariff.region}: CO2 is absent")
        self.faults, self._until = tuple(dict.fromkeys(told)), time.monotonic() + SECONDS
        return self._rates


def variables(environ: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables of `CostSettings`, those that were given before those of the environment."""
    return {**environ, **{f"{PREFIX}{name}": text for name, text in given.items() if text is not None}}
