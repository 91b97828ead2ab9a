import pytest

from benchmarks import cells, gift_eval
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.gift_eval import TASKS, task


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The cells that a run asks for; none is computed."""
    found = []
    monkeypatch.setattr(gift_eval, "FILE", tmp_path)
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr(cells, "run", lambda wanted, *_: found.extend(wanted) or "none")
    return found


def test_no_test_window_is_touched_unless_asked_for(asked, monkeypatch):
    monkeypatch.delenv("BENCH_TEST", raising=False)
    list(gift_eval.run())
    assert {cell.fold for cell in asked} == {1, 2, 3}
    asked.clear()
    monkeypatch.setenv("BENCH_TEST", "1")
    list(gift_eval.run())
    assert [(cell.data, cell.fold) for cell in asked] == [(name, 0) for name in (*TASKS, "5T/short")]


@pytest.mark.parametrize("name", ["H/short"])
def test_a_task_has_a_graph(name):
    meta = Forecaster(gift_eval.untrained(task(name), gift_eval.MEMORIES[name])).meta
    assert (meta.horizon, meta.season) == (task(name).horizon, task(name).season)
