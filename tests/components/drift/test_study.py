"""The study behind the statistic (docs/drift.md), on a fleet of the generator: what it is judged by must hold there too."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.drift_fleets import SHIFTS, Fleet, synthetic
from benchmarks.drift_study import BASE, MEASURES, OURS, Line, lines, study

GROSS = ("mean", "missing metric")


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return synthetic(vms=16, days=20)


@pytest.fixture(scope="module")
def judged(fleet: Fleet) -> dict[str, Line]:
    return {line.detector.name: line for line in lines(study(fleet, 1, GROSS))}


def test_a_fifth_of_the_false_alarms_of_evidently_s_defaults(judged: dict[str, Line]) -> None:
    assert judged[OURS.name].false_alarms <= max(judged[BASE.name].false_alarms / 5, 168 / 50)


def test_gross_changes_are_found(judged: dict[str, Line]) -> None:
    for kind in GROSS:
        share, hours, trials = judged[OURS.name].found[kind]
        assert (share, trials) == (1.0, 1), kind
        assert hours <= 48, kind


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_change_begins_where_it_is_said_to(fleet: Fleet, kind: str) -> None:
    changed = fleet.shifted(kind, 2)
    start = 3 * 288
    same = [np.array_equal(changed[n][:start], fleet.metrics[n][:start], equal_nan=True) for n in fleet.metrics]
    assert all(same)
    after = [np.array_equal(changed[n][start:], fleet.metrics[n][start:], equal_nan=True) for n in fleet.metrics]
    assert after.count(False) == (0 if kind == "nothing" else 1)


def test_evidently_s_defaults_are_what_evidently_says(fleet: Fleet) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    features = fleet.features()
    live, trained = (
        pd.DataFrame(part.reshape(-1, len(fleet.columns)), columns=fleet.columns).dropna()
        for part in (features[-24:], features[: 14 * 24])
    )
    definition = DataDefinition(numerical_columns=fleet.columns)
    sets = [Dataset.from_pandas(table, definition) for table in (live, trained)]
    first, *columns = Report([DataDriftPreset()]).run(*sets).dict()["metrics"]
    ours = {name: MEASURES["wasserstein"](live[name].to_numpy(), trained[name].to_numpy()) for name in fleet.columns}
    said = {metric["config"]["column"]: metric["value"] for metric in columns}
    assert said == pytest.approx(ours)
    assert first["value"]["share"] == pytest.approx(np.mean([value >= BASE.threshold for value in ours.values()]))
