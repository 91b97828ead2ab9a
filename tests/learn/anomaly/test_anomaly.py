"""Anomaly graphs: what they say of rows as they are and of incidents, of absent metrics, and beside plain detectors."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fleetml.errors import InvalidData
from fleetml.learn.anomaly import graphs, injection, judge, samples, training
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.forecaster import session


def fleet(rows: int, seed: int) -> Samples:
    """VMs whose network, latency and errors follow their CPU; disk and memory have levels of their own."""
    drawn = np.random.default_rng(seed)
    load = drawn.beta(2, 5, rows)
    values = np.stack(
        [
            100 * load,
            30 + 20 * load + drawn.normal(0, 3, rows),
            np.exp(drawn.normal(3, 0.5, rows)),
            1000 * load * np.exp(drawn.normal(0, 0.1, rows)),
            5 / (1.05 - load) * np.exp(drawn.normal(0, 0.1, rows)),
            load * np.exp(drawn.normal(0, 0.2, rows)),
        ],
        axis=1,
    ).astype(np.float32)
    return Samples(np.array([f"vm{number % 20}" for number in range(rows)]), values)


@cache
def learnt() -> bytes:
    return training.train(fleet(6000, 0), fleet(4000, 1), width=24, epochs=25, alarms=5.0, seed=0).SerializeToString()


def test_a_learnt_detector_beats_plain_ones_on_incidents_it_never_saw() -> None:
    test = fleet(4000, 2)
    found = judge.score(test, learnt())
    plain = {name: judge.score(test, graph) for name, graph in judge.baselines(test).items()}
    assert set(plain) == {"z_score", "quartiles"}
    assert found["auroc"] > 0.9
    assert found["average_precision"] > max(each["average_precision"] for each in plain.values())
    assert found["rightly_blamed"] > 0.8
    assert found["false_alarms_per_vm_week"] < 20  # 5 were admitted on other rows
    assert len(learnt()) < 100_000


def test_what_breaks_a_relation_is_seen_though_each_metric_is_usual() -> None:
    busy = fleet(4000, 3).values
    usual = busy[(busy[:, 0] > 40) & (busy[:, 0] < 60)][:200]
    silent = usual.copy()
    silent[:, 3] = np.quantile(busy[:, 3], 0.05)  # a usual value, but not of a busy VM
    loaded = session(learnt())
    before, after = (judge.ask(loaded, rows) for rows in (usual, silent))
    assert judge.auroc(before[0], after[0]) > 0.95
    assert (after[1].argmax(axis=1) == injection.NETWORK).mean() > 0.5


def test_absent_metrics_are_blamed_for_nothing_and_contributions_add_up() -> None:
    rows = fleet(50, 4).values
    rows[:, injection.LATENCY] = np.nan
    rows[:25, injection.DISK] = 1e7
    score, contribution = judge.ask(session(learnt()), rows)
    assert (contribution[:, injection.LATENCY] == 0).all()
    np.testing.assert_allclose(contribution.sum(axis=1), 1, atol=1e-5)
    assert (contribution[:25].argmax(axis=1) == injection.DISK).all()
    assert ((score >= 0) & (score <= 1)).all()
    nothing, blamed = judge.ask(session(learnt()), np.full((1, 6), np.nan, np.float32))
    assert nothing[0,] < 0.01
    assert (blamed == 0).all()


def test_a_metric_that_training_never_had_weighs_nothing() -> None:
    train = fleet(500, 5)
    train.values[:, injection.ERRORS] = np.nan
    graph = session(graphs.distance(Scaling.moments(train.values), Calibration(), "z_score").SerializeToString())
    rows = fleet(10, 6).values
    wild = rows.copy()
    wild[:, injection.ERRORS] = 1e9
    np.testing.assert_array_equal(judge.ask(graph, rows)[0], judge.ask(graph, wild)[0])


def test_incidents_need_the_metrics_that_they_change() -> None:
    values = fleet(100, 7).values
    values[:, injection.LATENCY] = np.nan
    found = injection.incidents(values, np.random.default_rng(0))
    assert set(injection.INCIDENTS) - set(found) == {"slow_answers"}
    for rows, changed in found.values():
        assert (rows[~changed] == values[~changed]).sum() == np.isfinite(values[~changed]).sum()


def test_rows_to_learn_from_are_changed_where_they_are_said_to_be() -> None:
    values = fleet(500, 8).values
    values[::2, injection.DISK] = np.nan
    made, changed = injection.contrast(values, np.random.default_rng(0))
    assert (changed.sum(axis=1) >= 1).all()
    assert changed.sum(axis=1).max() == 3
    assert not changed[::2, injection.DISK].any()
    np.testing.assert_array_equal(made[~changed], values[~changed])


def test_samples_come_back_from_their_file(tmp_path: Path) -> None:
    made = fleet(20, 9)
    made.values[3, 4] = np.nan
    made.save(tmp_path / "samples")
    found = samples.load(tmp_path / "samples")
    np.testing.assert_array_equal(found.values, made.values)
    assert found.vm_id.tolist() == made.vm_id.tolist()
    Samples(made.vm_id[:0], made.values[:0]).save(tmp_path / "empty")
    with pytest.raises(InvalidData, match="more days"):
        samples.load(tmp_path / "empty")
    with pytest.raises(InvalidData, match="features stage"):
        samples.load(tmp_path / "missing")
