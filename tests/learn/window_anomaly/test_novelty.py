"""The detector of one series: its graph says what Python says, finds what was never there, and says it once."""

import numpy as np
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.learn.window_anomaly import novelty
from fleetml.learn.window_anomaly.novelty import Settings

SETTINGS = Settings(history=200, past=100, peak=50, quiet=20, patterns=(1, 4), threshold=1.2)


def series(length: int = 600) -> np.ndarray:
    drawn = np.random.default_rng(3)
    return 50 + 10 * np.sin(np.arange(length) / 5) + drawn.normal(0, 0.5, length)


def by_graph(values: np.ndarray) -> np.ndarray:
    filled = np.concatenate([np.full(SETTINGS.history - 1, values[0]), values])
    windows = np.lib.stride_tricks.sliding_window_view(filled.astype(np.float32), SETTINGS.history)
    loaded = session(novelty.graph(SETTINGS).SerializeToString())
    return np.asarray(loaded.run(["score"], {"history": np.ascontiguousarray(windows)})[0])[:, 0]


def test_the_graph_says_what_python_says() -> None:
    values = series()
    values[400:404] = 90.0
    values[480] = np.nan_to_num(values[480]) - 40
    np.testing.assert_allclose(by_graph(values), novelty.score(values, SETTINGS), rtol=2e-3, atol=1e-3)


def test_a_value_that_was_never_there_is_found_and_said_once() -> None:
    values = series()
    values[400:410] = 90.0
    said = novelty.score(values, SETTINGS)
    assert int(said[250:].argmax()) + 250 == 400
    assert (said[401:420] == 0).sum() >= 17


def test_a_pattern_that_was_never_there_is_found_though_its_values_are_usual() -> None:
    values = series()
    values[400:416] = 50.0 + 9 * (-1.0) ** np.arange(16)
    assert novelty.score(values, SETTINGS)[400:405].max() > 1 > np.median(novelty.score(values, SETTINGS)[300:400])


def test_a_series_that_never_moves_is_no_anomaly() -> None:
    assert not novelty.score(np.full(300, 7.0), SETTINGS).any()
    assert not by_graph(np.full(300, 7.0)).any()


def test_the_graph_says_what_it_is() -> None:
    said = scorer.described(session(novelty.graph(SETTINGS).SerializeToString()))
    assert (said.kind, said.family, said.about["rows"]) == ("window_anomaly", "novelty", 200)


def test_a_history_too_short_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at least 1508"):
        Settings(history=1024)
