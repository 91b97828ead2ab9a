"""cost_model under Airflow: the same steps, the same model and recommendations as on this machine, and its cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from fleetml.cli import main
from fleetml.component import Artifact
from fleetml.engines.airflow.source import record_id
from fleetml.records import Run

ROOT = Path(__file__).parents[3]
DAG_FILE = """
from pathlib import Path
from fleetml.engines.airflow import load_dags
load_dags(Path(__file__).parent, globals())  # airflow dag
"""


pytestmark = pytest.mark.skipif(not (ROOT / ".venv/ml").is_dir(), reason="the steps' environment is not built")


@pytest.fixture
def ran(airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Run]]:
    """Yield a function that runs the pipeline's DAG as its schedule does, and returns its record."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))

    place = airflow_home / "dags" / tmp_path.name

    def ran() -> Run:
        shutil.copytree(ROOT / "dags" / "cost_model", place / "cost_model")
        (place / "costs.py").write_text(DAG_FILE)
        bag = DagBag(str(place), bundle_name="dags-folder", bundle_path=airflow_home / "dags")
        assert not bag.import_errors
        sync_bag_to_db(bag, "dags-folder", None)
        (dag,) = bag.dags.values()
        run = dag.test()
        assert run.state == "success"
        return Run(tmp_path / "home", record_id(run.dag_id, run.run_id))

    yield ran
    shutil.rmtree(place)  # two folders with one DAG are an import error of every later test that reads them all


def test_the_power_model_is_that_of_this_machine(ran: Callable[[], Run], tmp_path: Path, capsys: Any) -> None:
    there = ran()
    assert there.latest()["fit-power"].figures["kind"] == "load"  # type: ignore[index]
    (made,) = there.latest()["recommend"].outcome["artifacts"]["recommendations"]  # type: ignore[index]
    told = json.loads(Artifact("recommendations", made["uri"]).path.read_text())
    assert told["ladders"][0]["ranking"][0]["scenario"] == "8 Streams @ 5000k"
    assert not (tmp_path / "home" / "cost").exists(), "synthetic results reach no exporter"
    assert main(["run", str(ROOT / "dags" / "cost_model")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines if line.split()[3:4] == ["cached"]] == ["fit-power", "recommend"]


def test_its_schedule_takes_the_home_s_measurements_and_exports_their_model(
    ran: Callable[[], Run], tmp_path: Path
) -> None:
    measured = tmp_path / "home" / "measurements"
    measured.mkdir(parents=True)
    usual = {"bitrate": "2500k", "resolution": "1280x720", "fps": 30, "duration": 40, "step_seconds": 5}
    rows = [{**usual, "name": f"{n} Streams @ 2500k", "power_watts": [5.0 + n] * 9} for n in (1, 2, 3, 4)]
    (measured / "test_results_1.json").write_text(json.dumps({"scenarios": rows}))
    assert ran().read()["parameters"]["source"] == str(measured)
    exported = json.loads((tmp_path / "home" / "cost" / "predictions.json").read_text())
    assert [each["scenario"] for each in exported["scenarios"]] == [each["name"] for each in rows]
