"""Dockerfiles, compose file and configuration: what can be known of them without building."""

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PROMETHEUS = ("prometheus.yml", "prometheus.tokens.yml")
SECRETS = sorted(set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker" / "compose.yaml").read_text())))


def _instructions(dockerfile: Path) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", dockerfile.read_text())
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def test_every_environment_has_a_dockerfile():
    assert [file.parent.name for file in DOCKERFILES] == ["ml", "orchestrator", "serving"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.parent.name)
class TestDockerfile:
    def test_what_it_copies_is_there(self, dockerfile):
        copied = [rest for name, rest in _instructions(dockerfile) if name == "COPY" and "--from" not in rest]
        sources = [source for rest in copied for source in rest.split()[:-1]]
        assert sources
        assert [source for source in sources if not (ROOT / source).exists()] == []

    def test_its_base_is_an_argument_with_a_pinned_default(self, dockerfile):
        arguments = dict(rest.split("=", 1) for name, rest in _instructions(dockerfile) if name == "ARG")
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", arguments["BASE"])
        stages = [rest.split()[0] for name, rest in _instructions(dockerfile) if name == "FROM"]
        assert set(stages) <= {"${BASE}", "${ML}"}

    def test_it_does_not_run_as_root(self, dockerfile):
        users = [rest for name, rest in _instructions(dockerfile) if name == "USER"]
        assert users == ["fleetml"]

    def test_it_is_built_from_the_locks_of_its_environment(self, dockerfile):
        name = dockerfile.parent.name
        locks = [f"images/{name}/{file.name}" for file in dockerfile.parent.glob("*.txt") if file.name != "dev.txt"]
        text = dockerfile.read_text()
        assert locks
        assert [lock for lock in locks if f"-r {lock}" not in text] == []

    def test_a_step_finds_fleetml_with_no_path_but_the_project(self, dockerfile, tmp_path):
        venv = tmp_path / ".venv" / dockerfile.parent.name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        for name, rest in _instructions(dockerfile):
            if name == "RUN" and "site-packages/fleetml.pth" in rest:
                version = f"python{sys.version_info.major}.{sys.version_info.minor}"
                line = rest.replace("/app/", f"{ROOT}/").replace("python3.11", version)
                subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
        asked = subprocess.run(
            [venv / "bin" / "python", "-m", "fleetml.component"], env={"PYTHONPATH": str(ROOT)}, capture_output=True
        )
        assert b"usage: python -m fleetml.component" in asked.stderr

    def test_its_layout_is_the_checkouts(self, dockerfile):
        assert f"/app/.venv/{dockerfile.parent.name}/bin" in dockerfile.read_text()


def test_the_image_for_tensorrt_serves_by_it_from_the_same_lock():
    instructions = _instructions(ROOT / "images" / "serving" / "tensorrt.Dockerfile")
    copied = [rest for name, rest in instructions if name == "COPY"]
    assert [source for rest in copied for source in rest.split()[:-1] if not (ROOT / source).exists()] == []
    runs = " ".join(rest for name, rest in instructions if name == "RUN")
    assert "-r images/serving/requirements.txt" in runs
    assert "--system-site-packages" in runs  # where the base has its bindings
    (command,) = [rest for name, rest in instructions if name == "CMD" and "-m" in rest]
    assert '"--backend", "tensorrt"' in command
    assert ("USER", "fleetml") in instructions


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_its_image_is_pinned_or_ours(self, name):
        image = SERVICES[name]["image"]
        assert re.fullmatch(r"\$\{FLEETML_\w+_IMAGE:-fleetml/\w+\}|[\w./-]+:[\w.-]*\d[\w.-]*", image)

    def test_its_ports_are_on_loopback(self, name):
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))

    def test_what_it_needs_is_declared(self, name):
        service = SERVICES[name]
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (ROOT / "docker" / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert known, volume

    def test_its_secrets_come_from_the_environment_and_have_no_default(self, name):
        for key, value in SERVICES[name].get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|FERNET|ACCESS_KEY", key):
                assert re.search(r"\$\{\w+:\?", str(value)), key


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_command_line_holds_a_secret(name):
    assert "${" not in str(SERVICES[name].get("command", ""))


def test_completion_is_waited_for_only_where_something_ends():
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], needed


@pytest.mark.skipif(
    subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0
    if shutil.which("docker")
    else True,
    reason="docker compose is not installed",
)
def test_docker_compose_accepts_it():
    given = dict.fromkeys(SECRETS, "x")
    command = ["docker", "compose", "-f", str(ROOT / "docker" / "compose.yaml"), "config", "--quiet"]
    assert subprocess.run(command, env={**os.environ, **given}).returncode == 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_accepts_its_configuration():
    checked = subprocess.run(
        ["promtool", "check", "config", str(ROOT / "docker" / "prometheus.yml")], capture_output=True
    )
    assert checked.returncode == 0, checked.stderr


def test_serving_finds_the_covariates_that_materialise_wrote():
    command = SERVICES["serving"]["command"]
    home = COMPOSE["services"]["serving"]["volumes"][0].split(":")[1]
    assert command[command.index("--feature-store") + 1] == f"{home}/feature_store"


def test_mlflow_lets_the_steps_in_under_the_name_they_call_it_by():
    called = COMPOSE["x-airflow"]["environment"]["FLEETML_REGISTRY"].removeprefix("http://")
    assert called in SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_the_image_of_mlflow_can_write_to_the_object_store():
    assert "--artifacts-destination=s3://mlflow" in SERVICES["mlflow"]["command"]
    lock = (ROOT / "images" / "ml" / "requirements.txt").read_text()
    assert re.search(r"^boto3==", lock, re.MULTILINE)  # MLflow imports it for s3://, and does not require it


def test_the_model_server_is_published_whole_and_on_loopback_only():
    assert SERVICES["serving"]["ports"] == ["127.0.0.1:50051:50051", "127.0.0.1:50052:50052"]
    command = SERVICES["serving"]["command"]
    assert [command[command.index(option) + 1] for option in ("--port", "--http-port")] == ["50051", "50052"]


def test_with_tokens_only_the_tokens_are_added():
    added = yaml.safe_load((ROOT / "docker" / "compose.tokens.yaml").read_text())
    plain, command = SERVICES["serving"]["command"], added["services"]["serving"]["command"]
    assert command == [*plain, "--tokens", "/run/secrets/serving-tokens"]
    assert all("ports" not in service for service in added["services"].values())
    assert all(re.fullmatch(r"\$\{\w+:\?\}", secret["file"]) for secret in added["secrets"].values())
    configured = [yaml.safe_load((ROOT / "docker" / name).read_text()) for name in PROMETHEUS]
    (scraped,) = [job for job in configured[1]["scrape_configs"] if job["job_name"] == "serving"]
    assert scraped.pop("authorization") == {"credentials_file": "/run/secrets/prometheus-token"}
    assert configured[0] == configured[1]


def test_the_command_of_the_readme_makes_every_secret_and_overwrites_none(tmp_path):
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/.env.example", tmp_path / "docker")
    block = (ROOT / "docker/README.md").read_text().partition("```sh\n")[2].partition("```")[0]
    made = subprocess.run(["sh", "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    text = (tmp_path / "docker/.env").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert sorted(values) == SECRETS
    assert len({value for value in values.values() if value}) == len(SECRETS)
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32
    assert (tmp_path / "docker/.env").stat().st_mode & 0o077 == 0
    assert subprocess.run(["sh", "-c", block], cwd=tmp_path, capture_output=True).returncode != 0
    assert (tmp_path / "docker/.env").read_text() == text
