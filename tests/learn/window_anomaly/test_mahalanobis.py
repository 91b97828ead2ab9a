"""The window detector: its graph says what Python says, finds what breaks the habit, and names the metric."""

import numpy as np
import pytest

from fleetml.errors import InvalidData
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.learn.window_anomaly import mahalanobis
from fleetml.learn.window_anomaly.mahalanobis import Settings

SETTINGS = Settings(steps=5, smooth=3, recent=4)


def machine(rows: int, seed: int) -> np.ndarray:
    """Three metrics that follow one load, and one that never moves."""
    drawn = np.random.default_rng(seed)
    load = 0.5 + 0.3 * np.sin(np.arange(rows) / 9) + drawn.normal(0, 0.02, rows)
    return np.stack([load, 1 - load + drawn.normal(0, 0.02, rows), load**2, np.full(rows, 0.25)], axis=1)


def windows(rows: np.ndarray) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(rows, SETTINGS.rows, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1), np.float32)


def test_the_graph_says_what_python_says() -> None:
    detector, rows = mahalanobis.fit([machine(600, 0)], SETTINGS), machine(200, 1)
    rows[100:110, 1] = 3.0
    rows[50, 0] = np.nan
    score, contribution = session(detector.graph().SerializeToString()).run(None, {"metrics": windows(rows)})
    np.testing.assert_allclose(score[:, 0], detector.score(rows), rtol=1e-4)
    np.testing.assert_allclose(contribution.sum(axis=1), 1, rtol=1e-5)
    assert (contribution >= 0).all()


def test_a_metric_that_leaves_the_others_is_found_and_named_though_its_value_is_usual() -> None:
    detector, rows = mahalanobis.fit([machine(600, 0)], SETTINGS), machine(200, 1)
    rows[100:110, 1] = 1 - rows[100:110, 1]
    score, contribution = session(detector.graph().SerializeToString()).run(None, {"metrics": windows(rows)})
    at = 105 - SETTINGS.rows + 1
    assert score[at, 0] > 1 > np.median(score)
    assert contribution[at].argmax() == 1


def test_the_threshold_is_seldom_passed_by_what_it_was_fitted_on() -> None:
    rows = machine(3000, 0)
    assert (mahalanobis.fit([rows], SETTINGS).score(rows) > 1).mean() == pytest.approx(mahalanobis.ALARMS, abs=1e-3)


def test_anomalies_among_the_fitted_rows_are_left_out_by_a_second_fit() -> None:
    rows = machine(600, 0)
    rows[300:315, 1] = 1 - rows[300:315, 1]
    plain, trimmed = (mahalanobis.fit([rows], Settings(steps=5, smooth=3, recent=4, trim=trim)) for trim in (0.0, 0.1))
    contrast = [found.score(rows)[300:313].mean() / np.median(found.score(rows)) for found in (plain, trimmed)]
    assert contrast[1] > 2 * contrast[0]


def test_what_a_second_fit_leaves_out_does_not_set_the_threshold() -> None:
    rows = machine(3000, 0)
    rows[1500:1700, 1] = 1 - rows[1500:1700, 1]
    found = mahalanobis.fit([rows], Settings(steps=5, smooth=3, recent=4, trim=0.1)).score(rows)
    assert (found[1500:1695] > 1).mean() > 0.8
    assert (np.delete(found, slice(1480, 1720)) > 1).mean() < 0.1  # trim counts so many as anomalies, be they or not


def test_machines_alike_share_a_detector_and_no_window_spans_two() -> None:
    first, second = machine(600, 0), machine(500, 1)
    found = mahalanobis.fit([first, second, first[:4]], SETTINGS)
    apart = np.concatenate([found.score(one) for one in (first, second)])
    assert (apart > 1).mean() == pytest.approx(mahalanobis.ALARMS, abs=1e-3)


def test_another_level_that_lasts_is_less_of_an_anomaly_than_its_beginning() -> None:
    rows = machine(400, 1)
    rows[200:, 3] += 0.5
    first, both = (mahalanobis.fit([machine(600, 0)], Settings(steps=5, smooth=3, recent=recent)) for recent in (0, 4))
    for detector, falls in ((first, 1.2), (both, 5)):
        score = detector.score(rows)
        begins, lasts = score[200 - len(rows) : 206 - len(rows)].max(), np.median(score[-100:])
        assert (begins > falls * lasts) == (detector is both)


def test_a_graph_of_one_look_says_what_python_says() -> None:
    settings = Settings(steps=5, smooth=3, recent=0)
    detector, rows = mahalanobis.fit([machine(600, 0)], settings), machine(100, 1)
    view = np.lib.stride_tricks.sliding_window_view(rows, settings.rows, axis=0).transpose(0, 2, 1)
    score = session(detector.graph().SerializeToString()).run(["score"], {"metrics": view.astype(np.float32)})[0]
    np.testing.assert_allclose(score[:, 0], detector.score(rows), rtol=1e-4)


def test_the_graph_says_what_it_is() -> None:
    graph = mahalanobis.fit([machine(100, 0)], SETTINGS).graph().SerializeToString()
    said = scorer.described(session(graph))
    assert (said.kind, said.family, said.about["rows"]) == ("window_anomaly", "mahalanobis", SETTINGS.rows)
    assert said.hyperparameters == vars(SETTINGS)
    assert scorer.latency(graph, runs=3, warmup=1)[0] > 0


@pytest.mark.parametrize("rows", [np.zeros((5, 3)), np.full((100, 3), np.nan), np.zeros(100)])
def test_what_it_cannot_be_fitted_on_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(InvalidData, match="give more history"):
        mahalanobis.fit([rows], SETTINGS)
