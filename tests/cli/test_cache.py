"""``fleetml cache`` and ``gc`` as a user types them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleetml.cache import store_of
from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

CODE = "def a(): return {'out': 1}\ndef b(a): return {'out': a}\ndef c(): return {'out': 1}\n"
Say = Callable[..., str]


@pytest.fixture
def say(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that runs a command and returns what it printed."""

    def run(*words: object, status: int = 0) -> str:
        capsys.readouterr()
        assert fleetml(*words) == status
        out, err = capsys.readouterr()
        return out or err

    return run


@pytest.fixture
def path(pipeline: Pipeline) -> Path:
    return pipeline(CODE, {"a": [], "b": ["a"], "c": []}, uncached=("c",))


def test_entries_are_listed_and_removed_by_step_age_and_all(say: Say, path: Path, project: Settings) -> None:
    say("run", path, "--run-id", "r")
    head, *listed = say("cache", "ls").splitlines()
    assert head.split() == ["KEY", "CREATED", "STATE", "PIPELINE", "STEP", "RESULT"]
    assert sorted(line[head.index("STEP")] for line in listed) == ["a", "b"]
    assert say("cache", "ls", "--step", "b", "--pipeline", "p").splitlines()[1].split()[3:6] == ["valid", "p", "b"]
    assert say("cache", "ls", "--older-than", "1h") == "the cache holds no such entry\n"
    assert say("cache", "rm", "--older-than", "1h") == "removed 0 entries\n"
    assert say("cache", "rm", "--step", "a") == "removed 1 entry\n"
    assert say("cache", "rm", "--pipeline", "q") == "removed 0 entries\n"
    assert "which entries" in say("cache", "rm", status=2)
    assert say("cache", "rm", "--all") == "removed 1 entry\n"
    assert list(store_of(project).entries()) == []
    assert say("cache", "ls") == "the cache holds no entry yet\n"


def test_explain_says_what_changed_since_the_nearest_earlier_result(
    say: Say, pipeline: Pipeline, stage: Callable[[str], str], path: Path
) -> None:
    say("run", path, "--run-id", "one")
    assert "nothing was computed before for step a of p" in say("cache", "explain", "one", "a")
    assert "compiled with caching off" in say("cache", "explain", "one", "c")
    say("run", path, "--run-id", "two")
    assert "computed by step b of run one" in say("cache", "explain", "two", "b")
    stage(CODE.replace("'out': 1", "'out': 12", 1))
    say("run", path, "--run-id", "three")
    found = say("cache", "explain", "three", "b")
    assert "since run" in found
    assert found.splitlines()[1:] == [
        "  parameters: a 1 → 12",
        "  code: the code of its stage, or code that all stages share",
    ]
    stage(CODE)
    say("run", path, "--run-id", "four", "--no-cache")
    assert "was started with --no-cache" in say("cache", "explain", "four", "a")
    say("cache", "rm", "--all")
    say("run", path, "--run-id", "five")
    assert "its entry was gone" in say("cache", "explain", "five", "a")
    assert "no step 'x'" in say("cache", "explain", "five", "x", status=2)
    assert "no run 'x'" in say("cache", "explain", "x", "a", status=2)


def test_what_was_not_run_is_explained_too(say: Say, pipeline: Pipeline) -> None:
    path = pipeline("def a(): raise ValueError\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    say("run", path, "--run-id", "r", status=1)
    assert say("cache", "explain", "r", "b").startswith("upstream_failed: ")


def test_a_damaged_result_is_told_once_explained_and_mended(say: Say, path: Path, project: Settings) -> None:
    say("run", path, "--run-id", "one")
    damaged = project.home / "results" / Run(project.home, "one").latest()["a"].result / "result.json"
    damaged.chmod(0o644)
    damaged.write_text("{}")
    say("run", path, "--run-id", "two")
    assert say("logs", "two", "a").count("cannot be reused") == 1
    assert "its result.json was changed" in say("cache", "explain", "two", "a")
    say("run", path, "--run-id", "three")
    assert "cannot be reused" not in say("logs", "three", "a")
    assert "computed by step a of run two" in say("cache", "explain", "three", "a")


def test_a_resumed_run_without_cache_goes_on_without(
    say: Say, pipeline: Pipeline, stage: Callable[[str], str], project: Settings
) -> None:
    code = "def a(): return {'out': 1}\ndef b(a): raise ValueError\n"
    path = pipeline(code, {"a": [], "b": ["a"]})
    stage(good := code.replace("raise ValueError", "return {'out': a}"))
    say("run", path, "--run-id", "good")
    stage(code)
    say("run", path, "--run-id", "r", "--no-cache", status=1)
    stage(good)
    say("resume", "r")
    assert not Run(project.home, "r").latest()["b"].cached


def test_a_cache_of_none_reuses_nothing(say: Say, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETML_CACHE", "none")
    for run_id in ("one", "two"):
        say("run", path, "--run-id", run_id)
    assert "  cached " not in say("status", "two")
    monkeypatch.setenv("FLEETML_CACHE", "disc")
    assert "FLEETML_CACHE is none, memory" in say("run", path, status=2)


def test_what_is_older_than_the_limit_is_not_reused(
    say: Say, path: Path, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("run", path, "--run-id", "one")
    store = store_of(project)
    for key, entry in list(store.entries()):
        store.put(key, replace(entry, created=time.time() - 100))
    monkeypatch.setenv("FLEETML_CACHE_TTL", "60")
    assert say("cache", "ls").count("expired") == 2
    say("run", path, "--run-id", "two")
    assert "  cached " not in say("status", "two")
    say("run", path, "--run-id", "three")
    assert say("status", "three").count("  cached ") == 2


def test_gc_says_what_it_would_free_and_frees_it(say: Say, path: Path, project: Settings) -> None:
    for run_id in ("one", "two"):
        say("run", path, "--run-id", run_id)
        for place in [*(project.home / "runs" / run_id).rglob("*"), *(project.home / "results").iterdir()]:
            os.utime(place, (time.time() - 100 * 86400,) * 2)
    dry = say("gc", "--older-than", "10d", "--dry-run")
    assert dry.startswith("run                one  ")
    assert "would free" in dry
    freed = say("gc", "--older-than", "10d")
    assert freed.startswith("freed ")
    assert "  1 run (" in freed
    assert "  1 result (" in freed  # of the step that is never cached; the others are reused by the last run
    assert [line.split()[0] for line in say("ls").splitlines()[1:]] == ["two"]
    assert say("gc") == "freed 0 B\n"


def test_an_age_is_a_number_and_a_unit(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fleetml("gc", "--older-than", "30")
    assert "write e.g. 30d" in capsys.readouterr().err


def test_gc_takes_old_traffic_where_that_is_asked_for_but_not_what_the_monitor_needs(
    say: Say, project: Settings
) -> None:
    day = project.serving_dir / "predictions/model=m/date=2026-01-01"
    day.mkdir(parents=True)
    (day / "a.parquet").write_text("rows")
    os.utime(day / "a.parquet", (time.time() - 10 * 86400,) * 2)
    assert say("gc") == "freed 0 B\n"
    say("gc", "--traffic-older-than", "7d", status=2)
    assert say("gc", "--traffic-older-than", "9d") == "freed 4 B\n  1 traffic day (4 B)\n"
    assert not day.exists()
