"""Results: what is kept is found, what is damaged is a miss that is told, writers do not disturb each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetml import artifacts, cache
from fleetml.pauses import finish

KEY = cache.Key("a" * 64, {"code": "c", "parameters": "p"})


def publish(home: Path, key: cache.Key = KEY) -> artifacts.ResultFolder:
    folder = artifacts.ResultFolder.create(home / "results", "work")
    (folder.aside / "data").write_text("x" * 1000)
    entry = {
        "name": "a",
        "type": "system.Dataset",
        "uri": str(folder.final / "data"),
        "digest": artifacts.digest(folder.aside / "data"),
        "metadata": {},
    }
    cache.write_result(folder.aside, cache.Result({"out": "é"}, {"data": [entry]}, {}))
    folder.publish()
    cache.keep(store(home), key, folder.final, "work", "p", "r")
    return folder


def store(home: Path) -> cache.Disk:
    return cache.Disk(home / "cache")


def find(home: Path) -> tuple[str, cache.Result] | None:
    return finish(cache.find(store(home), home, KEY))


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    folder = publish(tmp_path)
    name, found = find(tmp_path)  # type: ignore[misc]
    assert name == folder.final.name
    assert found.parameters == {"out": "é"}
    ((key, entry),) = store(tmp_path).entries()
    assert (key, entry.parts, entry.step, entry.pipeline, entry.run) == (KEY.digest, dict(KEY.parts), "work", "p", "r")


@pytest.mark.parametrize(
    "damage", ["artifact", "artifact gone", "result", "result gone", "entry", "entry's form", "entry's path"]
)
def test_damage_of_any_kind_is_a_miss_that_is_told_once_and_mended_by_the_next_result(
    tmp_path: Path, damage: str
) -> None:
    folder = publish(tmp_path)
    entry = tmp_path / "cache" / f"{KEY.digest}.json"
    match damage:
        case "artifact":
            (folder.final / "data").chmod(0o644)
            (folder.final / "data").write_text("x" * 999 + "y")
        case "artifact gone":
            (folder.final / "data").unlink()
        case "result":
            (folder.final / "result.json").chmod(0o644)
            text = (folder.final / "result.json").read_text()
            (folder.final / "result.json").write_text(text.replace("é", "è"))
        case "result gone":
            (folder.final / "result.json").unlink()
        case "entry":
            entry.write_text(entry.read_text()[:20])
        case "entry's form":
            entry.write_text("[]")
        case "entry's path":
            entry.write_text(entry.read_text().replace(folder.final.name, "../results"))
    told: list[str] = []
    assert finish(cache.find(store(tmp_path), tmp_path, KEY, told.append)) is None
    assert len(told) == 1
    publish(tmp_path)
    assert finish(cache.find(store(tmp_path), tmp_path, KEY, told.append)) is not None
    assert len(told) == 1


def test_writers_and_readers_at_once(tmp_path: Path) -> None:
    publish(tmp_path)

    def work(number: int) -> bool:
        if number % 2:
            publish(tmp_path)
        return find(tmp_path) is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))
    assert [place.name for place in (tmp_path / "cache").iterdir()] == [f"{KEY.digest}.json"]


def test_a_large_result_is_hashed_after_a_pause_and_a_small_one_at_once(tmp_path: Path) -> None:
    small = publish(tmp_path)
    with pytest.raises(StopIteration):
        next(cache.find(store(tmp_path), tmp_path, KEY))
    (small.final / "data").chmod(0o644)
    (small.final / "data").write_bytes(bytes(1 << 20))
    told: list[str] = []
    going = cache.find(store(tmp_path), tmp_path, KEY, told.append)
    next(going)
    assert not told
    assert finish(going) is None
    assert "was changed" in told[0]
