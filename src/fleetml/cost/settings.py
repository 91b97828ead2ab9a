"""What energy, money and CO2 are reckoned by, as the variables FLEETML_COST_… say; light, as every command reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetml.cost.estimate import Rates
from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen

_PREFIX = "FLEETML_COST_"
_TEXTS = ("REGION", "CURRENCY", "FILE", "INSTANCE", "ELECTRICITY_MAPS_URL", "EIA_URL")


@frozen
class CostSettings:
    """Where and in what money runs are reckoned.

    region: a name of `fleetml.cost.regions`, or of `file`. currency: three letters; whatever is priced in another is not
    added. file: hourly prices and intensities (`fleetml.cost.series`). instance: this machine's type at its cloud, such as
    ``m5.xlarge`` ("": unknown), for the power model. The addresses are those of the APIs.
    """

    rates: Rates = Rates()
    region: str = "default"
    currency: str = "USD"
    file: Path | None = None
    instance: str = ""
    electricity_maps: str = "https://api.electricitymaps.com"
    eia: str = "https://api.eia.gov"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> CostSettings:
        """Read the FLEETML_COST_… variables. Raises ConfigurationError, also for a region that nobody knows."""
        given = {name.removeprefix(_PREFIX): text for name, text in environ.items() if name.startswith(_PREFIX)}
        texts = {name: given.pop(name, "") for name in _TEXTS}
        currency = texts["CURRENCY"] or "USD"
        if not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
            raise ConfigurationError(
                f"{_PREFIX}CURRENCY is three letters such as EUR, got {currency!r}; mend or unset it"
            )
        figures = {name.lower(): _number(name, text) for name, text in given.items()}
        if texts["INSTANCE"]:
            from fleetml.cost import instances

            idle, full = instances.watts(texts["INSTANCE"])
            figures = {"idle_watts_per_vcpu": idle, "watts_per_vcpu": full, **figures}
        return cls(
            rates=Rates.of(figures, currency),
            region=texts["REGION"] or cls.region,
            currency=currency,
            file=Path(texts["FILE"]).expanduser().absolute() if texts["FILE"] else None,
            instance=texts["INSTANCE"],
            electricity_maps=_address("ELECTRICITY_MAPS_URL", texts) or cls.electricity_maps,
            eia=_address("EIA_URL", texts) or cls.eia,
        ).checked()

    def checked(self) -> CostSettings:
        """Return the same. Raises ConfigurationError for a region that neither the table nor the file knows."""
        from fleetml.cost import regions

        if self.file is not None and not self.file.is_file():
            raise ConfigurationError(f"{_PREFIX}FILE must be a file, {self.file} is none; mend or unset it")
        if self.region not in regions.TABLE:
            named: list[str] = []
            if self.file is not None:
                from fleetml.cost import series

                named = [found.region for found in series.read(self.file)]
            regions.require(self.region, named, f"{_PREFIX}REGION")
        return self


def _address(name: str, texts: Mapping[str, str]) -> str:
    address = texts[name].rstrip("/")
    if address and not address.startswith(("https://", "http://")):
        raise ConfigurationError(f"{_PREFIX}{name} is an address such as https://…, got {address!r}; mend or unset it")
    return address


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{_PREFIX}{name} is a number, got {text!r}; mend or unset it") from None
