"""The entry inside every step, called as a process and as KFP's launcher calls it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetml.component import Artifact, arguments, main

_NUMBERS = itertools.count()


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the function `work` of this code, with inputs and declared outputs."""

    def go(code: str, inputs: Mapping[str, Any] | None = None, parameters: tuple[str, ...] = ()) -> int:
        name = f"work_{next(_NUMBERS)}"  # a module is imported once per process
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        document = {
            "inputs": inputs or {},
            "outputs": {
                "parameters": {each: {"outputFile": str(tmp_path / each)} for each in parameters},
                "artifacts": {
                    "data": {"artifacts": [{"name": "data", "uri": str(tmp_path / "out" / "data"), "metadata": {}}]}
                },
                "outputFile": str(tmp_path / "out" / "executor_output.json"),
            },
        }
        return main([f"{name}:work", json.dumps(document)])

    return go


def output(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out/executor_output.json").read_text())


def failure(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out/failure.json").read_text())


def test_values_artifacts_and_metadata_go_both_ways(go: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "given").write_text("abc")
    code = (
        "def work(n, text, data):\n"
        "    data.path.write_text(text.path.read_text() * n)\n"
        "    data.log(length=3 * n, kind=text.type, rows=text.metadata['rows'])\n"
        "    return {'length': 3 * n}\n"
    )
    item = {
        "name": "t",
        "uri": f"file://{tmp_path}/given",
        "type": {"schemaTitle": "system.Dataset"},
        "metadata": {"rows": 1},
    }
    assert go(code, {"parameterValues": {"n": 2}, "artifacts": {"text": {"artifacts": [item]}}}, ("length",)) == 0
    assert (tmp_path / "out/data").read_text() == "abcabc"
    (made,) = output(tmp_path)["artifacts"]["data"]["artifacts"]
    assert made["metadata"] == {"length": 6, "kind": "system.Dataset", "rows": 1}
    assert output(tmp_path)["parameterValues"] == {"length": 6}


def test_a_model_says_what_code_made_it_and_one_passed_on_what_made_it_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETML_CODE_DIGEST", "c0de")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trains.py").write_text("def work(new, old, data):\n    old.metadata['code_digest'] = 'before'\n")
    types = {"new": "system.Model", "old": "system.Model", "data": "system.Dataset"}
    artifacts = {
        name: {"artifacts": [{"name": name, "uri": str(tmp_path / name), "type": {"schemaTitle": title}}]}
        for name, title in types.items()
    }
    outputs = {"artifacts": artifacts, "outputFile": str(tmp_path / "out" / "executor_output.json")}
    assert main(["trains:work", json.dumps({"outputs": outputs})]) == 0
    said = {name: entry["artifacts"][0]["metadata"] for name, entry in output(tmp_path)["artifacts"].items()}
    assert said == {"new": {"code_digest": "c0de"}, "old": {"code_digest": "before"}, "data": {}}


def test_a_list_of_artifacts_is_a_list() -> None:
    items = [{"name": "a", "uri": "/a"}, {"name": "b", "uri": "/b"}]
    kwargs, _ = arguments({"inputs": {"artifacts": {"many": {"artifacts": items}}}})
    assert [artifact.path for artifact in kwargs["many"]] == [Path("/a"), Path("/b")]
    kwargs, _ = arguments({"inputs": {"artifacts": {"one": {"isList": True, "artifacts": items[:1]}}}})
    assert [artifact.name for artifact in kwargs["one"]] == ["a"]


def test_remote_uris_are_where_the_launcher_mounts_them() -> None:
    assert Artifact("a", "s3://bucket/key").path == Path("/s3/bucket/key")


def test_a_mistake_of_the_code_names_its_line_and_leaves_no_output(
    go: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("import json\ndef work(data):\n    json.loads('{')\n") == 1
    found = failure(tmp_path)
    assert (found["type"], found["line"], found["user_error"]) == ("JSONDecodeError", 3, False)
    assert found["file"].startswith(str(tmp_path))  # the user's line, not the library's
    assert not (tmp_path / "out/executor_output.json").exists()
    assert "Traceback" in capsys.readouterr().err


def test_a_user_s_mistake_is_its_message(
    go: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from fleetml.errors import InvalidData\ndef work(data):\n    raise InvalidData('column cpu: text')\n"
    assert go(code) == 1
    assert failure(tmp_path)["user_error"]
    assert capsys.readouterr().err == "error: column cpu: text\n"


@pytest.mark.parametrize("said", ["[Errno 28] No space left on device", "parquet: File too large (os error 27)"])
def test_a_full_disk_is_told_with_the_remedy_whichever_library_met_it(
    go: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    assert go(f"def work(data):\n    raise RuntimeError({said!r})\n") == 1
    found = failure(tmp_path)
    assert (found["type"], found["user_error"]) == ("Unavailable", True)
    assert found["message"].endswith("; free some and resume")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("returned", ["None", "{}", "{'n': 1, 'extra': 2}"])
def test_what_is_returned_must_be_what_was_declared(go: Callable[..., int], tmp_path: Path, returned: str) -> None:
    assert go(f"def work(data):\n    return {returned}\n", parameters=("n",)) == 1
    assert "['n']" in failure(tmp_path)["message"]


def test_numpy_scalars_are_numbers_and_other_objects_are_refused(go: Callable[..., int], tmp_path: Path) -> None:
    code = "import numpy\ndef work(data):\n    data.log(mae=numpy.float32(0.5))\n    return {'n': numpy.int64(7)}\n"
    assert go(code, parameters=("n",)) == 0
    assert output(tmp_path)["parameterValues"] == {"n": 7}
    assert output(tmp_path)["artifacts"]["data"]["artifacts"][0]["metadata"] == {"mae": 0.5}
    assert go("def work(data):\n    return {'n': {1, 2}}\n", parameters=("n",)) == 1
    assert "set" in failure(tmp_path)["message"]


def test_usage() -> None:
    done = subprocess.run([sys.executable, "-m", "fleetml.component"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "EXECUTOR_INPUT_JSON" in done.stderr


def test_it_loads_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import fleetml.component\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['fleetml']\n"


def test_a_step_prints_our_notes_and_no_chatter_of_libraries(tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text(
        "import logging\n"
        "def work():\n"
        "    logging.getLogger('components.x').info('a note')\n"
        "    logging.getLogger('library').info('chatter')\n"
    )
    document = {"outputs": {"outputFile": str(tmp_path / "executor_output.json")}}
    command = [sys.executable, "-m", "fleetml.component", "noting:work", json.dumps(document)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "a note\n"


def test_a_step_does_not_wait_for_modules_that_most_do_not_need() -> None:
    told = "import sys; before = set(sys.modules); import fleetml.component; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert "fleetml.component" in loaded
    assert not {"dataclasses", "inspect", "logging", "traceback"} & set(loaded)
