import time

import numpy as np
import onnxruntime as ort
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import search_space, tabular
from fleetml.learn.tabular import FAMILIES, Table


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    rows = random.normal(size=(2_000, 6)).astype(np.float32)
    target = np.tanh(rows[:, 0] + 0.1 * random.normal(size=2_000)).astype(np.float32)
    return Table(rows, target, np.ones(2_000, np.float32))


def fitted(family, table, deadline=None):
    return tabular.fit(family, table, search_space.defaults(FAMILIES[family]), 0, deadline or time.monotonic() + 60)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns_and_its_graph_says_the_same(family, table):
    estimator = fitted(family, table)
    said = tabular.predict(estimator, table.rows)
    model = tabular.convert(family, estimator, table.rows.shape[1])
    session = ort.InferenceSession(model.SerializeToString())
    graph = session.run(None, {"rows": table.rows})[0]
    assert np.abs(said - table.target).mean() < 0.6 * np.abs(table.target).mean()
    assert graph.shape == (2_000, 1)
    np.testing.assert_allclose(graph[:, 0], said, atol=1e-4)


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_values_that_are_neighbours_in_float32_stay_apart_in_the_graph(family):
    places = np.arange(400) % 2
    near = np.where(places == 0, np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1)))
    rows = np.stack([near, np.arange(400) % 7], axis=1).astype(np.float32)
    table = Table(rows, (places * 2.5).astype(np.float32), np.ones(400, np.float32))
    estimator = fitted(family, table)
    session = ort.InferenceSession(tabular.convert(family, estimator, 2).SerializeToString())
    said = tabular.predict(estimator, rows)
    assert np.ptp(said) > 2  # the model tells them apart
    np.testing.assert_allclose(session.run(None, {"rows": rows})[0][:, 0], said, atol=1e-4)


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "random_forest", "extra_trees"])
def test_a_passed_deadline_leaves_a_smaller_ensemble_that_works(family, table):
    whole, cut = fitted(family, table), fitted(family, table, deadline=time.monotonic())
    sizes = [len(tabular.convert(family, model, 6).SerializeToString()) for model in (whole, cut)]
    assert sizes[1] < sizes[0] / 3
    assert np.isfinite(tabular.predict(cut, table.rows)).all()


def test_the_same_seed_gives_the_same_model(table):
    for family in FAMILIES:
        said = [tabular.predict(fitted(family, table), table.rows) for _ in range(2)]
        assert (said[0] == said[1]).all(), family


def test_an_unknown_family_is_refused_by_name(table):
    with pytest.raises(InvalidParameter, match="'svm'"):
        tabular.fit("svm", table, {}, 0, 0.0)
