"""What the last training was about."""

from pathlib import Path

import pytest

from fleetml.settings import Settings, Subject


def test_what_was_written_is_read_and_told_to_the_triggers(project: Settings) -> None:
    about = Subject("/data/vms.csv", "mine.yaml", "cpu", "train-forecaster", {"horizon": 24, "rollout": "canary"})
    about.write(project.home)
    settings = Settings.from_environment({"FLEETML_PROJECT": str(project.project)})
    assert settings.subject == about
    told = settings.defaults()
    assert (told["FLEETML_SOURCE"], told["FLEETML_TARGET"]) == ("/data/vms.csv", "cpu")
    assert "FLEETML_GIVEN" not in told
    assert "FLEETML_SOURCE" not in settings.variables()  # a server started before would keep it


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"source": "x"}', "null", '{"source": "", "mapping": "", "target": "cpu", "given": [1]}']
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "subject.json").write_text(text)
    assert Subject.read(tmp_path) == Subject()
