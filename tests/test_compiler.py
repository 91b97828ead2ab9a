import shutil
import sys
from pathlib import Path

import pytest
import yaml

from fleetml.compiler import compile_pipeline
from fleetml.errors import ConfigurationError, InvalidPipeline

pytest.importorskip("kfp")
PIPELINES = Path(__file__).parent / "pipelines"
DAGS = Path(__file__).parents[1] / "dags"
SOURCES = sorted(path for path in PIPELINES.glob("*.py") if path.stem != "parts") + sorted(
    path.with_suffix(".py") for path in DAGS.glob("*/pipeline.yaml")
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_committed_ir_is_what_compiling_gives(source):
    target, differs = compile_pipeline(source, check=True)
    assert target == source.with_suffix(".yaml")
    assert not differs, f"compile {source.name} again and commit {target.name}"


def test_a_first_compilation_writes_and_a_second_changes_nothing(tmp_path):
    source = Path(shutil.copy(PIPELINES / "strangers.py", tmp_path / "pipeline.py"))
    target, differs = compile_pipeline(source)
    assert differs
    assert target.read_text() == (PIPELINES / "strangers.yaml").read_text()
    assert compile_pipeline(source) == (target, False)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["pipeline.py", "pipeline.yaml"]


def test_parameters_stand_in_the_order_of_the_signature():
    document = yaml.safe_load((DAGS / "train_forecaster" / "pipeline.yaml").read_text())
    names = list(document["root"]["inputDefinitions"]["parameters"])
    assert names[:5] == ["source", "mapping", "target", "window_days", "window_end"]
    assert list(document) == sorted(document)


def test_a_check_writes_nothing_and_tells_a_difference(tmp_path):
    source = Path(shutil.copy(PIPELINES / "strangers.py", tmp_path / "pipeline.py"))
    assert compile_pipeline(source, tmp_path / "out" / "ir.yaml", check=True) == (tmp_path / "out" / "ir.yaml", True)
    assert not (tmp_path / "out").exists()
    target, _ = compile_pipeline(source, tmp_path / "out" / "ir.yaml")
    target.write_text(target.read_text() + "# edited by hand\n")
    assert compile_pipeline(source, target, check=True) == (target, True)


HEAD = "from kfp import dsl\n\n@dsl.component\ndef one() -> int:\n    return 1\n\n"
TWO = HEAD + "@dsl.pipeline\ndef a():\n    one()\n\n@dsl.pipeline\ndef b():\n    one()\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"pipeline.py:1: SyntaxError"),
        ("import kfp\n\nraise RuntimeError('oh')\n", r"pipeline.py:3: RuntimeError: oh"),
        ("from components.nowhere import x\n", r"pipeline.py:1: ModuleNotFoundError"),
        (HEAD, r"pipeline.py:1: a pipeline source must define one @dsl.pipeline, found none"),
        (TWO, r"found .*pipeline.py:7 a, .*pipeline.py:11 b"),
        (HEAD + "@dsl.pipeline\ndef p():\n    one(x=1)\n", r"pipeline.py:9: TypeError"),
        (HEAD + "@dsl.pipeline\ndef p():\n    pass\n", r"pipeline.py:7: ValueError: Task is missing"),
    ],
)
def test_the_authors_mistake_is_named_with_its_line_and_the_old_ir_stays(tmp_path, text, message):
    source = tmp_path / "pipeline.py"
    source.write_text(text)
    source.with_suffix(".yaml").write_text("old")
    with pytest.raises(InvalidPipeline, match=message):
        compile_pipeline(source)
    assert source.with_suffix(".yaml").read_text() == "old"


def test_nested_pipelines_belong_to_the_one_that_calls_them(tmp_path):
    source = tmp_path / "pipeline.py"
    source.write_text(HEAD + "@dsl.pipeline\ndef inner():\n    one()\n\n@dsl.pipeline\ndef outer():\n    inner()\n")
    target, _ = compile_pipeline(source)
    assert "name: outer" in target.read_text()


def test_a_pipeline_finds_its_project_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "images.toml").write_text("")
    (tmp_path / "mine_alone.py").write_text(HEAD)
    source = tmp_path / "dags" / "pipeline.py"
    source.parent.mkdir()
    source.write_text("from kfp import dsl\nfrom mine_alone import one\n\n@dsl.pipeline\ndef p():\n    one()\n")
    monkeypatch.chdir("/")
    assert compile_pipeline(source) == (source.with_suffix(".yaml"), True)


def test_a_missing_source(tmp_path):
    with pytest.raises(InvalidPipeline, match="there is no pipeline source"):
        compile_pipeline(tmp_path / "nope.py")


def test_without_kfp_the_message_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kfp", None)
    with pytest.raises(ConfigurationError, match=r"fleetml\[kfp\]"):
        compile_pipeline(tmp_path / "pipeline.py")
