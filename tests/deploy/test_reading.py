"""What a deployment may say: the parser and the published schema refuse the same, and the parser tells where."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fleetml.cli import main
from fleetml.deploy import reading, schema, spec
from fleetml.deploy.alerts import Alert
from fleetml.errors import InvalidParameter
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.schema import text

ROOT = Path(__file__).parents[2]
WHOLE: dict[str, Any] = {
    "name": "fleet-models",
    "target": "production",
    "models": [{"name": "bandwidth", "version": "champion"}, {"name": "anomaly", "version": 3}],
    "instance": {"type": "m5.xlarge", "count": 3},
    "resources": {"cpu_cores": 2, "memory_gb": 4, "gpu_units": 1},
    "autoscaling": {
        "min_replicas": 2,
        "max_replicas": 10,
        "target_concurrency": 100,
        "scale_in_cooldown": 300,
        "scale_out_cooldown": 60,
    },
    "environment": {"OMP_NUM_THREADS": "1", "LEVEL": 3},
    "prediction_log": {"sample_rate": 0.1},
    "alerts": [{"metric": "latency_p99", "operator": ">", "threshold": 50, "window_minutes": 5}],
    "server": {"workers": 2, "backend": "cuda", "batch_rows": 64, "client_rate": 0.5},
    "kubernetes": {
        "namespace": "ml",
        "image": "registry/fleetml/serving@sha256:" + "0" * 64,
        "volume_claim": "home",
        "tls_secret": "tls",
        "tokens_secret": "tokens",
    },
}


def published() -> Any:
    return jsonschema.Draft202012Validator(json.loads((ROOT / "docs/schemas" / schema.FILE).read_text()))


def changed(path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(WHOLE)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = made
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


def test_a_whole_deployment_is_read_as_it_stands() -> None:
    published().validate(WHOLE)
    found = reading.parse(WHOLE)
    assert [(model.name, model.version) for model in found.models] == [("bandwidth", "champion"), ("anomaly", "3")]
    assert (found.count, found.cpu_cores, found.gpu_units, found.instance_type) == (3, 2, 1, "m5.xlarge")
    assert found.autoscaling == spec.Autoscaling(2, 10, 100, 300, 60)
    assert found.alerts == (Alert("latency_p99", ">", 50.0, 5),)
    assert (found.server.workers, found.server.backend, found.server.log_share) == (2, "cuda", 0.1)
    assert found.environment == {"OMP_NUM_THREADS": "1", "LEVEL": "3"}
    assert found.kubernetes.namespace == "ml"


def test_name_and_models_are_enough() -> None:
    least = {"name": "a", "models": [{"name": "bandwidth"}]}
    published().validate(least)
    found = reading.parse(least)
    assert (found.models[0].version, found.count, found.autoscaling) == ("champion", 1, None)
    assert (found.server.workers, found.server.log_share) == (1, 1.0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", None, "name: is missing"),
        ("name", "Fleet Models", "name: a name is at most 50 of a-z, 0-9 and -"),
        ("name", "a" * 51, "name: a name is at most 50"),
        ("target", "pro duction", "target: a target is a label"),
        ("models", None, "models: is missing"),
        ("models", [], "models: a deployment serves at least one model"),
        ("models", {"bandwidth": "3"}, "models: must be a list"),
        ("models.0.name", None, "models[0].name: is missing"),
        ("models.0.name", "../x", "models[0].name: a model's name is letters"),
        ("models.0.version", 1.5, "models[0].version: must be a text, got 1.5"),
        ("models.1.alias", "champion", "models[1].alias: is no field here"),
        ("replicas", 3, "replicas: is no field here"),
        ("instance.count", 0, "instance.count: must be a whole number from 1, got 0"),
        ("instance.count", "3", "instance.count: must be a whole number from 1, got '3'"),
        ("resources.cpus", 3, "resources.cpus: is no field here; did you mean 'cpu_cores'?"),
        ("resources.cpu_cores", 0, "resources.cpu_cores: a server needs some, got 0"),
        ("resources.gpu_units", 0.5, "resources.gpu_units: must be a whole number"),
        ("autoscaling.min_replicas", 0, "autoscaling.min_replicas: must be a whole number from 1, got 0"),
        ("autoscaling.max_replicas", None, "autoscaling.max_replicas: is missing"),
        ("autoscaling.scale_in_cooldown", 4000, "autoscaling.scale_in_cooldown: must be at most 3600, got 4000"),
        ("autoscaling.target_concurency", 1, "autoscaling.target_concurency: is no field here; did you mean"),
        ("environment", ["A=1"], "environment: must be a mapping"),
        ("environment.A B", "1", "environment.A B: a variable's name"),
        ("environment.A", True, "environment.A: must be a text, got True"),
        ("prediction_log.sample_rate", 1.5, "prediction_log.sample_rate: must be at most 1, got 1.5"),
        ("prediction_log.share", 0.1, "prediction_log.share: is no field here"),
        ("alerts.0.metric", "latency_p999", "alerts[0].metric: must be one of the known, got 'latency_p999'; did you mean"),
        ("alerts.0.operator", "=>", "alerts[0].operator: must be one of the known, got '=>'"),
        ("alerts.0.threshold", "50", "alerts[0].threshold: must be a number"),
        ("alerts.0.window_minutes", 0, "alerts[0].window_minutes: must be a whole number from 1"),
        ("alerts.0.window_minutes", None, "alerts[0].window_minutes: is missing"),
        ("server.workers", 1000, "server.workers: must be at most 256, got 1000"),
        ("server.backend", "gpu", "server.backend: must be one of cpu, cuda, tensorrt, got 'gpu'"),
        ("server.port", 1, "server.port: is no field here"),
        ("kubernetes.namespace", "ML", "kubernetes.namespace: the name of an object"),
        ("kubernetes.image", "a b", "kubernetes.image: an image is a reference"),
    ],
)  # fmt: skip
def test_both_refuse_another_shape_and_the_parser_tells_where(path: str, value: Any, said: str) -> None:
    document = changed(path, value)
    assert not published().is_valid(document)
    with pytest.raises(InvalidWorkflow) as refused:
        reading.parse(document)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("autoscaling.min_replicas", 20, "autoscaling.min_replicas: 20 is above max_replicas 10"),
        ("instance.count", 11, "instance.count: must lie between min_replicas 2 and max_replicas 10 of autoscaling, got 11"),
        ("models.1.name", "bandwidth", "models[1].name: 'bandwidth' stands at models[0] too"),
        ("resources.gpu_units", 0, "server.backend: cuda needs a GPU, resources.gpu_units is 0"),
        ("environment.DB_PASSWORD", "x", "environment.DB_PASSWORD: looks like a credential, which no file holds"),
        ("alerts", WHOLE["alerts"] * 2, "alerts[1]: is alerts[0] again"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(path: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        reading.parse(changed(path, value))
    assert str(refused.value).startswith(said)


def test_a_file_is_named_in_what_is_said_of_it(tmp_path: Path) -> None:
    place = tmp_path / "d.yaml"
    place.write_text(yaml.safe_dump(changed("server.workers", 0)))
    with pytest.raises(InvalidWorkflow, match=r"d\.yaml: server\.workers: must be a whole number from 1, got 0"):
        reading.read(place)
    for content, said in (
        ("name: [", "the document is neither YAML nor JSON"),
        ("", "the document is empty"),
        ("- 1", "must be one mapping"),
    ):
        place.write_text(content)
        with pytest.raises(InvalidWorkflow, match=rf"d\.yaml: .*{said}.*; correct it$"):
            reading.read(place)
    with pytest.raises(InvalidParameter, match=r"a deployment is a YAML or JSON file, .* is not there"):
        reading.read(tmp_path / "absent.yaml")


def test_the_published_schema_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    made = schema.deployment()
    jsonschema.Draft202012Validator.check_schema(made)
    assert (ROOT / "docs/schemas" / schema.FILE).read_text() == text(made), (
        "run: python -m fleetml.deploy.schema docs/schemas"
    )
    assert main(["workflow", "schema", "deployment"]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_the_example_is_a_deployment() -> None:
    example = ROOT / "docs" / "examples" / "deployment.yaml"
    published().validate(yaml.safe_load(example.read_text()))
    assert {model.name for model in reading.read(example).models} == {"bandwidth"}


@pytest.mark.parametrize("command", ["validate", "deploy"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [fleet\nmodels: 3\n", "in line 2, column 7"),
        ("", "the document is empty"),
        ("name: fleet\nmodel: []\n", "did you mean 'models'"),
    ],
)
def test_a_document_that_is_none_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, said: str
) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(text)
    assert main([command, str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(file) in error
    assert "byte string" not in error


def test_a_document_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(tmp_path)]) == 2
    assert "is a folder; name the file in it" in capsys.readouterr().err
    assert main(["deploy", str(tmp_path / "nothing.yaml")]) == 2
    assert "is not there; correct the name" in capsys.readouterr().err
    assert main(["validate", str(tmp_path / "nothing.yaml")]) == 2
    assert "is no file that is there" in capsys.readouterr().err


def test_all_fields_are_looked_at_before_one_is_complained_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {**changed("server.workers", 0), "name": "A", "target": "", "models": [], "alerts": [{}]}
    place = tmp_path / "d.yaml"
    place.write_text(yaml.safe_dump(document))
    assert main(["validate", str(place)]) == 2
    told = capsys.readouterr().err
    assert all(
        f"{field}" in told for field in ("name: a name", "target: ", "models: ", "alerts[0].", "server.workers: ")
    )
    assert "backend" not in told, "what is well is not spoken of"
