"""What energy, money and CO2 are reckoned by, as the variables FLEETML_COST_… say; light, as every command reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from fleetml.cost.estimate import Rates
from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen

_PREFIX = "FLEETML_COST_"
_REGION, _CURRENCY = "FLEETML_COST_REGION", "FLEETML_COST_CURRENCY"
_FILE, _INSTANCE = "FLEETML_COST_FILE", "FLEETML_COST_INSTANCE"
_MAPS, _EIA = "FLEETML_COST_ELECTRICITY_MAPS_URL", "FLEETML_COST_EIA_URL"
_TEXTS = (_REGION, _CURRENCY, _FILE, _INSTANCE, _MAPS, _EIA)


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
        given = {name: text for name, text in environ.items() if name.startswith(_PREFIX)}
        texts = {name: given.pop(name, "") for name in _TEXTS}
        currency = texts[_CURRENCY] or "USD"
        if not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
            raise ConfigurationError(f"{_CURRENCY} is three letters such as EUR, got {currency!r}; mend or unset it")
        figures = {name.removeprefix(_PREFIX).lower(): _number(name, text) for name, text in given.items()}
        if texts[_INSTANCE]:
            from fleetml.cost import instances

            idle, full = instances.watts(texts[_INSTANCE])
            figures = {"idle_watts_per_vcpu": idle, "watts_per_vcpu": full, **figures}
        return cls(
            rates=Rates.of(figures, currency),
            region=texts[_REGION] or cls.region,
            currency=currency,
            file=Path(texts[_FILE]).expanduser().absolute() if texts[_FILE] else None,
            instance=texts[_INSTANCE],
            electricity_maps=_address(_MAPS, texts) or cls.electricity_maps,
            eia=_address(_EIA, texts) or cls.eia,
        ).checked()

    def checked(self) -> CostSettings:
        """Return the same. Raises ConfigurationError for a region that neither the table nor the file knows."""
        from fleetml.cost import regions

        if self.file is not None and not self.file.is_file():
            raise ConfigurationError(f"{_FILE} must be a file, {self.file} is none; mend or unset it")
        if self.region not in regions.TABLE:
            named: list[str] = []
            if self.file is not None:
                from fleetml.cost import series

                named = [found.region for found in series.read(self.file)]
            regions.require(self.region, named, _REGION)
        return self


def _address(name: str, texts: Mapping[str, str]) -> str:
    address = texts[name].rstrip("/")
    try:
        sound = not address or (address.startswith(("https://", "http://")) and bool(urlsplit(address).hostname))
    except ValueError:  # "http://["
        sound = False
    if not sound:
        raise ConfigurationError(f"{name} is an address such as https://…, got {address!r}; mend or unset it")
    return address


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name} is a number, got {text!r}; mend or unset it") from None
