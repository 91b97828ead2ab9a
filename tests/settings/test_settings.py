"""Settings: found where they should be, refused where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError
from fleetml.settings import CacheChoice, Settings


def test_a_project_is_found_from_any_folder_in_it(project: Settings) -> None:
    deep = project.project / "a/b"
    deep.mkdir(parents=True)
    found = Settings.from_environment({}, deep)
    assert found == project
    assert found.home == project.project / ".fleetml"
    assert found.registry == f"sqlite:///{found.home}/registry/mlflow.db"
    assert found.serving_address == ""


@pytest.mark.parametrize("environ", [{}, {"FLEETML_PROJECT": "/no/such"}])
def test_no_project_is_told_with_the_remedy(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FLEETML_PROJECT"):
        Settings.from_environment(environ, tmp_path)


def test_the_environment_wins_over_the_running_stack_and_that_over_the_defaults(project: Settings) -> None:
    project.home.mkdir()
    addresses = {"registry": "http://127.0.0.1:1", "serving": "127.0.0.1:2"}
    (project.home / "stack.json").write_text(json.dumps({"addresses": addresses}))
    environ = {"FLEETML_PROJECT": str(project.project)}
    found = Settings.from_environment(environ)
    assert (found.registry, found.serving_address) == ("http://127.0.0.1:1", "127.0.0.1:2")
    found = Settings.from_environment({**environ, "FLEETML_REGISTRY": "http://elsewhere"})
    assert (found.registry, found.serving_address) == ("http://elsewhere", "127.0.0.1:2")
    assert found.variables()["FLEETML_REGISTRY"] == "http://elsewhere"


@pytest.mark.parametrize("text", ["", "[]", '{"addresses": 3}', "{"])
def test_a_damaged_stack_file_counts_as_no_stack(project: Settings, text: str) -> None:
    project.home.mkdir()
    (project.home / "stack.json").write_text(text)
    assert Settings.from_environment({"FLEETML_PROJECT": str(project.project)}) == project


def test_variables_for_steps_are_named_one_by_one(project: Settings) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), "FLEETML_STEP_VARIABLES": "A, B C"}
    assert Settings.from_environment(environ).step_variables == ("A", "B", "C")


def test_studies_are_in_a_database_without_a_password(project: Settings) -> None:
    environ = {"FLEETML_PROJECT": str(project.project)}
    assert Settings.from_environment(environ).variables()["FLEETML_STUDIES"] == ""
    found = Settings.from_environment({**environ, "FLEETML_STUDIES": "postgresql://fleet@host:5432/studies"})
    assert found.variables()["FLEETML_STUDIES"] == "postgresql://fleet@host:5432/studies"
    for wrong, said in (("postgresql://fleet:pw@host/studies", "holds no password"), ("/a/journal", "or empty for a")):
        with pytest.raises(ConfigurationError, match=said):
            Settings.from_environment({**environ, "FLEETML_STUDIES": wrong})


def test_rates_are_numbers_with_known_names(project: Settings) -> None:
    environ = {"FLEETML_PROJECT": str(project.project)}
    assert Settings.from_environment({**environ, "FLEETML_COST_GRAMS_PER_KWH": "34"}).cost.rates.grams_per_kwh == 34
    for name, value in (("GRAMS_PER_KWH", "green"), ("GRAMS", "3"), ("PUE", "-1"), ("PUE", "nan")):
        with pytest.raises(ConfigurationError, match=f"FLEETML_COST_{name}"):
            Settings.from_environment({**environ, f"FLEETML_COST_{name}": value})


@pytest.mark.parametrize(
    ("store", "kind", "url"),
    [
        ("", "disk", ""),
        ("none", "none", ""),
        ("memory", "memory", ""),
        ("redis://:pw@host:1/2", "redis", "redis://:pw@host:1/2"),
        ("rediss://host:1", "redis", "rediss://host:1"),
        ("hybrid:redis://host:1", "hybrid", "redis://host:1"),
    ],
)
def test_the_cache_is_chosen_by_one_variable(project: Settings, store: str, kind: str, url: str) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), "FLEETML_CACHE": store, "FLEETML_CACHE_TTL": "60"}
    settings = Settings.from_environment(environ)
    assert settings.cache == CacheChoice(kind, url, 60.0)
    assert "pw" not in repr(settings)


@pytest.mark.parametrize(
    ("store", "ttl"),
    [("disc", ""), ("hybrid", ""), ("hybrid:disk", ""), ("disk:x", ""), ("http://:pw@h", ""), ("", "1h"), ("", "-1")],
)
def test_a_cache_that_is_none_is_refused_without_its_password(project: Settings, store: str, ttl: str) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), "FLEETML_CACHE": store, "FLEETML_CACHE_TTL": ttl}
    with pytest.raises(ConfigurationError, match="FLEETML_CACHE") as refused:
        Settings.from_environment(environ)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("name", ["FLEETML_REGISTRY", "FLEETML_STORE"])
def test_a_url_that_every_record_shows_holds_no_password(project: Settings, name: str) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), name: "postgresql://u:pass99@h/db"}
    with pytest.raises(ConfigurationError, match=f"{name}.*u:\\*\\*\\*@h/db.*FLEETML_STEP_VARIABLES") as refused:
        Settings.from_environment(environ)
    assert "pass99" not in str(refused.value)
    assert Settings.from_environment({**environ, name: "postgresql://u@h/db/"})


def test_the_runner_and_what_its_containers_see(project: Settings, tmp_path: Path) -> None:
    environ = {"FLEETML_PROJECT": str(project.project)}
    assert (project.runner, project.mounts) == ("subprocess", ())
    found = Settings.from_environment({**environ, "FLEETML_RUNNER": "docker", "FLEETML_MOUNTS": f"{tmp_path}:/usr"})
    assert (found.runner, found.mounts) == ("docker", (tmp_path, Path("/usr")))


@pytest.mark.parametrize("folders", ["relative", "/no/such:/usr"])
def test_a_folder_that_containers_cannot_see_is_refused(project: Settings, folders: str) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), "FLEETML_MOUNTS": folders}
    with pytest.raises(ConfigurationError, match="FLEETML_MOUNTS lists absolute folders that exist"):
        Settings.from_environment(environ)
