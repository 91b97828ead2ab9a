import json
from dataclasses import asdict

import pytest

from benchmarks import cells, gift_eval
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.gift_eval import TASKS, task


def test_no_test_window_is_touched_unless_asked_for(monkeypatch):
    monkeypatch.delenv("BENCH_TEST", raising=False)
    assert {cell.fold for cell in gift_eval.cells_wanted()} == {1, 2, 3}
    monkeypatch.setenv("BENCH_TEST", "1")
    assert [(cell.data, cell.fold) for cell in gift_eval.cells_wanted()] == [(name, 0) for name in (*TASKS, "5T/short")]


@pytest.mark.parametrize("name", ["H/short"])
def test_a_task_has_a_graph(name):
    meta = Forecaster(gift_eval.untrained(task(name), gift_eval.MEMORIES[name])).meta
    assert (meta.horizon, meta.season) == (task(name).horizon, task(name).season)


def test_what_is_in_the_results_is_told_from_there_and_not_run_again(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_TEST", "1")
    monkeypatch.setattr(gift_eval, "FILE", tmp_path)
    monkeypatch.setattr(gift_eval, "MEMORIES", {})
    monkeypatch.setattr(gift_eval.gift_eval, "published", lambda *_: dict.fromkeys(gift_eval.BESIDE, (2.0, 0.5)))
    figures = {"mase": 1.7, "mase_without_5": 0.6, "crps": 0.5}
    lines = [{"cell": asdict(cell), "figures": figures} for cell in gift_eval.cells_wanted()]
    (tmp_path / "gift_eval.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr(gift_eval, "_command", lambda cell: pytest.fail("a test is run again"))
    found = {name: unit for name, value, unit in gift_eval.run() if value == 1.7}
    assert found[f"{gift_eval.LEARNT}, seed 0: 5T/short, test: MASE"] == "  (met: at most 1.85)"
    assert len(found) == 5
