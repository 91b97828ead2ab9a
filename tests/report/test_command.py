import shutil
from pathlib import Path

import pytest

from fleetml.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    shutil.copy(ROOT / "images" / "images.toml", tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home with spaces"))
    return tmp_path


def test_the_report_of_the_latest_run_is_written_and_its_place_told(project, make_run, capsys):
    run = make_run()
    assert main(["report"]) == 0
    place = Path(capsys.readouterr().out.strip())
    assert place == run.folder / "report.html"
    assert "new champion" in place.read_text()
    assert main(["report", run.run_id]) == 0


def test_an_unknown_run_and_no_run_at_all_are_told(project, capsys):
    assert main(["report"]) == 2
    assert "holds none; start one: fleetml train" in capsys.readouterr().err
    assert main(["report", "nobody"]) == 2
    assert "no run 'nobody'" in capsys.readouterr().err
