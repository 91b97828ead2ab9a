"""Results files of a folder -> results files that are whole: what is wrong is told and left out, what stands elsewhere is added."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.cost import samples, synthetic
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.cost import quantities
from fleetml.cost.exporters.prometheus import TOKEN, Prometheus
from fleetml.cost.results_files import PATTERN, parse
from fleetml.cost.scenarios import Results, Scenario
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.frozen import asdict, replace

log = logging.getLogger(__name__)

_ELSEWHERE = ("mean_power_w", "total_energy_wh")
Analysis = Mapping[str, Mapping[str, Any]]
"""Scenario -> what is known of it beside its file."""
_DERIVED = ("mbps", "streams", "refused")


def measurements(source: str, prometheus: str, results: Artifact, metrics: Artifact) -> None:
    """Write the results files of the folder `source` ("": synthetic ones) into the folder `results`.

    Where a file has no samples they are asked of the Prometheus at `prometheus` ("": of none), with the token that the step's secret gives; else the mean power and energy come from
    the ``…_analysis.csv`` beside it. What is wrong is told in the log. Raises InvalidParameter for a source that is no folder, InvalidData
    where no scenario with power is left.
    """
    if not source:
        log.warning(
            "no source is given, so the results are synthetic, invented and not measured; put your %s into the folder measurements "
            "of the home, or give -p source=/their/folder",
            PATTERN,
        )
    asked = Prometheus.of(prometheus, token=os.environ.get(TOKEN, "")) if prometheus else None
    kept: list[Results] = []
    beside: dict[str, Analysis] = {}
    told: list[str] = []
    for name, content, analysis in _files(source):
        try:
            found = parse(content, name)
        except InvalidData as error:
            told.append(f"{error}; the file is left out")
            continue
        told += found.remarks
        kept.append(found)
        beside[found.run_id] = analysis
    if asked:
        kept = samples.complete(kept, asked, told)
    kept = [_with(found, beside[found.run_id]) for found in kept]
    for line in told:
        log.info("%s", line)
    powered = sum(each.mean_watts is not None for found in kept for each in found.scenarios)
    if not powered:
        raise InvalidData(_none(source, kept, told))
    _write(kept, results.path)
    results.metadata["synthetic"] = _is_synthetic(source)
    total = sum(len(found.scenarios) for found in kept)
    metrics.log(scenarios=total, with_power=powered, remarks=len(told), files=len(kept))


def load(folder: Path) -> list[Results]:
    """Return what `measurements` wrote, the latest measured last."""
    found = [parse(path.read_bytes(), path.name) for path in sorted(folder.glob(PATTERN))]
    return sorted(found, key=lambda each: (each.when, each.run_id))


def latest(found: list[Results]) -> list[Scenario]:
    """Return the scenarios of all files; of several of one name the latest."""
    return list({each.name: each for results in found for each in results.scenarios}.values())


def _is_synthetic(source: str) -> bool:
    return not source or urlsplit(source).scheme == synthetic.SCHEME


def _files(source: str) -> Iterator[tuple[str, bytes | str, Analysis]]:
    """Yield each file's name, its content, and what an analysis beside it says of each scenario."""
    if _is_synthetic(source):
        for name, document in synthetic.documents(source).items():
            yield name, json.dumps(document), {}
        return
    folder = Path(source)
    if not (folder.is_absolute() and folder.is_dir()):
        raise InvalidParameter(
            f"measurements are an absolute folder of {PATTERN}, or {synthetic.SCHEME}://, got {source!r}; give one"
        )
    for path in sorted(folder.glob(PATTERN)):
        try:
            yield path.name, atomic.read_bytes(path), _analysis(path.with_name(f"{path.stem}_analysis.csv"))
        except (OSError, ValueError, csv.Error) as error:
            log.info("%s cannot be read: %s; the file is left out", path, error)


def _analysis(path: Path) -> Analysis:
    """Return the power and energy that an analysis says of each scenario; what is no number is for `parse` to tell."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {
            str(row.get("name")): {name: float(row[name]) for name in _ELSEWHERE if _is_number(row.get(name))}
            for row in csv.DictReader(file)
        }


def _is_number(text: Any) -> bool:
    try:
        quantities.positive(float(text))
    except (TypeError, ValueError):
        return False
    return True


def _with(found: Results, analysis: Analysis) -> Results:
    """Return results with the power and energy that an analysis tells of scenarios without samples."""

    def known(scenario: Scenario) -> Scenario:
        own = (
            scenario.power_watts or "power_watts" in scenario.refused
        )  # what is wrong is not replaced by something else
        elsewhere = {} if own else analysis.get(scenario.name, {})
        lacking = {name: value for name, value in elsewhere.items() if getattr(scenario, name) is None}
        return replace(scenario, **lacking) if lacking else scenario

    return replace(found, scenarios=tuple(known(each) for each in found.scenarios))


def _write(kept: list[Results], folder: Path) -> None:
    for found in kept:
        document = {"test_date": found.test_date, "scenarios": [_facts(each) for each in found.scenarios]}
        atomic.write_json(folder / f"{found.run_id}.json", document)


def _facts(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as a results file says it; what was wrong stays wrong, for the steps to come."""
    known = {
        name: value for name, value in asdict(scenario).items() if value not in (None, ()) and name not in _DERIVED
    }
    if scenario.outputs:
        known["outputs"] = [{"resolution": f"{it.width}x{it.height}", "fps": it.fps} for it in scenario.outputs]
    return known | dict.fromkeys(scenario.refused, "refused")


def _none(source: str, kept: list[Results], told: list[str]) -> str:
    count = sum(len(found.scenarios) for found in kept)
    why = f"; first of {len(told)} remarks: {told[0]}" if told else ""
    return (
        f"a power model needs a scenario with power, {source or 'the synthetic source'} has {count} scenarios in {len(kept)} sound files and none "
        f"has any{why}; add power_watts and step_seconds, an analysis beside the file, or prometheus"
    )
