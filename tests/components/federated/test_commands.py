"""What an operator types: keys, a link, nodes beside their data; on this machine, and each region on a network of its own."""

from __future__ import annotations

import errno
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.federated import keys, rounds, strategies
from components.federated.app import REGION, client_app
from components.federated.commands import main
from components.federated.configuration import Federation
from components.federated.federated import federated
from components.federated.forecaster import Forecaster, arrays_of, network_of
from components.federated.simulation import Simulation
from fleetml.component import Artifact
from fleetml.data import synthetic
from fleetml.errors import ConfigurationError, InvalidData
from fleetml.learn import graph
from fleetml.learn.windows import Meta, Windows
from tests.components.federated.real import SECONDS, Real, until

META = Meta(context=48, horizon=6, season=24)
REGIONS = ("east", "south", "west")


def windows(seed: int, rows: int = 60) -> Windows:
    """Sines with a season of 24 steps, of one VM."""
    rng = np.random.default_rng(seed)
    time = np.arange(META.context + META.horizon) + rng.uniform(0, 24, rows)[:, None]
    values = ((seed + 1) * (2 + np.sin(2 * np.pi * time / 24))).astype(np.float32)
    return Windows(
        vm_id=np.full(rows, f"vm{seed}"),
        origin=np.arange(rows).astype("datetime64[us]"),
        history=values[:, : META.context],
        covariates=np.empty((rows, 0), np.float32),
        target=values[:, META.context :],
        scale=np.full(rows, seed + 1, np.float32),
        meta=META,
    )


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    real = Real(tmp_path, REGIONS, hosts=["127.0.0.1", "10.213.0.1"])
    for seed, name in enumerate(REGIONS):
        (tmp_path / name).mkdir()
        windows(seed).save(tmp_path / name / "train")
        windows(seed, 20).save(tmp_path / name / "val.parquet")
    try:
        yield real
    finally:
        real.end()


def node(real: Real, name: str, link: str) -> list[str]:
    """Return the command by which a region takes part."""
    given = ["--key", f"{real.folder}/{name}.key", "--authority", f"{real.folder}/link/authority.pem"]
    return ["-m", "components.federated", "node", link, *given, "--windows", f"{real.folder}/{name}"]


def learnt(real: Real, asked: Federation) -> rounds.Result:
    with real.grid() as grid:
        until(lambda: len(grid.regions()) == len(REGIONS), "all regions are there")
        return rounds.train(grid, strategies.of(asked), asked, arrays_of(network_of(META, asked.seed)))


def test_forecasters_of_real_regions_are_those_of_simulated_ones_to_the_byte(real: Real) -> None:
    asked = Federation(rounds=2, min_clients=3, round_seconds=60.0, seed=3)
    real.start_link()
    for name in REGIONS:
        real.start(name, node(real, name, real.address))
    found = learnt(real, asked)
    learners = {name: Forecaster(windows(seed), windows(seed, 20)) for seed, name in enumerate(REGIONS)}
    app = client_app(lambda context: learners[str(context.node_config[REGION])])
    with Simulation(app, REGIONS) as grid:
        expected = rounds.train(grid, strategies.of(asked), asked, arrays_of(network_of(META, asked.seed)))
    assert all(found.arrays[name].tobytes() == values.tobytes() for name, values in expected.arrays.items())
    assert found.errors == expected.errors


def test_the_stage_is_the_server_of_a_link_and_says_so_in_figures_and_page(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETML_FEDERATION_DRIVER", (real.folder / "link/driver.secret").read_text())
    monkeypatch.setenv("FLEETML_FEDERATION_AUTHORITY", (real.folder / "link/authority.pem").read_text())
    real.start_link()
    for name in REGIONS:
        real.start(name, node(real, name, real.address))
    made = {name: Artifact(name, str(real.folder / name)) for name in ("model", "metrics", "report", "data")}
    windows(7).save(real.folder / "train")
    windows(7, 20).save(real.folder / "val")
    given = {name: Artifact(name, str(real.folder / name)) for name in ("train", "val")}
    federated(**given, **made, superlink=real.address, rounds=1, min_clients=3, round_seconds=240.0)
    assert made["metrics"].metadata["regions"] == 3
    assert "central_mase" not in made["metrics"].metadata
    page = made["report"].path.read_text()
    assert all(f"<td>{name}</td>" in page for name in REGIONS)
    assert graph.describe(graph.load(made["model"].path)).hyperparameters["regions"] == sorted(REGIONS)


def test_the_stage_names_the_secret_that_real_regions_need(tmp_path: Path) -> None:
    windows(7).save(tmp_path / "train")
    windows(7, 20).save(tmp_path / "val")
    names = ("train", "val", "model", "metrics", "report", "data")
    artifacts = {name: Artifact(name, str(tmp_path / name)) for name in names}
    with pytest.raises(ConfigurationError, match="FLEETML_SECRET_FEDERATION_DRIVER"):
        federated(**artifacts, superlink="127.0.0.1:1", rounds=1)


def test_a_node_whose_ledger_cannot_be_read_does_not_start(real: Real, capsys: pytest.CaptureFixture[str]) -> None:
    (real.folder / "east.spent").write_text("{}}")
    assert main([*node(real, "east", "127.0.0.1:1")[2:], "--epsilon", "8"]) == InvalidData.exit_code
    assert "east.spent holds what the region has spent of its epsilon" in capsys.readouterr().err


def test_a_key_and_its_ledger_are_of_one_node_on_a_machine(real: Real, capsys: pytest.CaptureFixture[str]) -> None:
    second = [
        *node(real, "east", "127.0.0.1:1")[2:-1],
        str(real.folder / "nowhere"),
        "--epsilon",
        "8",
    ]  # or it would wait for the link
    with keys.alone(real.folder / "east.key"):
        assert main(second) == ConfigurationError.exit_code
    assert "a region has one node, another process uses" in capsys.readouterr().err
    assert not (real.folder / "east.spent").exists()


def test_a_second_node_of_a_region_is_told_so_and_the_first_goes_on(real: Real, tmp_path: Path) -> None:
    real.start_link()
    for name in REGIONS:
        real.start(name, node(real, name, real.address))
    with real.grid() as grid:
        until(lambda: len(grid.regions()) == len(REGIONS), "all regions are there")
    (tmp_path / "elsewhere").mkdir()
    copied = shutil.copy(tmp_path / "east.key", tmp_path / "elsewhere")  # as on another machine: no lock is seen
    second = real.start(
        "second", [str(copied) if word.endswith("east.key") else word for word in node(real, "east", real.address)]
    )
    assert second.wait() == ConfigurationError.exit_code
    assert "a region has one node, another with this key is connected" in real.log("second")
    asked = Federation(rounds=1, min_clients=3, round_seconds=SECONDS, personal_epochs=0)
    assert learnt(real, asked).history[0].answered == sorted(REGIONS)


@pytest.fixture
def networks() -> Iterator[list[str]]:
    """Return network namespaces that reach this one at 10.213.0.1 alone, over cables of their own on one bridge."""
    names = [f"fleetml-{name}" for name in REGIONS]
    made: list[list[str]] = []

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("link", "add", "fleetml-bridge", "type", "bridge")
        made.append(["link", "del", "fleetml-bridge"])
        ip("addr", "add", "10.213.0.1/24", "dev", "fleetml-bridge")
        ip("link", "set", "fleetml-bridge", "up")
        for index, name in enumerate(names):
            ip("netns", "add", name)
            made.append(["netns", "del", name])
            ip("link", "add", f"fleetml-{index}", "type", "veth", "peer", "name", "eth0", "netns", name)
            made.append(["link", "del", f"fleetml-{index}"])
            ip("link", "set", f"fleetml-{index}", "master", "fleetml-bridge", "up")
            ip("-n", name, "addr", "add", f"10.213.0.{index + 2}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces need root and iproute2: {getattr(error, 'stderr', error)!r}")
    finally:
        for words in reversed(made):
            subprocess.run(["ip", *words], check=False, capture_output=True)


def test_regions_on_networks_of_their_own_learn_together(real: Real, networks: list[str]) -> None:
    port = real.start_link(host="10.213.0.1").rpartition(":")[2]
    for name, network in zip(REGIONS, networks, strict=True):
        real.start(name, node(real, name, f"10.213.0.1:{port}"), ["ip", "netns", "exec", network])
    found = learnt(real, Federation(rounds=1, min_clients=3, round_seconds=60.0))
    assert found.history[0].answered == sorted(REGIONS)


def test_a_region_makes_its_windows_of_any_table_that_ingest_reads(tmp_path: Path) -> None:
    from components.federated.commands import features
    from fleetml.learn import windows as saved

    synthetic.generate(synthetic.Fleet(vms=2, days=6)).write_csv(tmp_path / "table.csv")
    folder = tmp_path / "made"
    folder.mkdir()
    features(tmp_path / "table.csv", folder, "bandwidth", 0)
    assert len(saved.load(folder / "train")) > 0
    assert set(saved.load(folder / "val").vm_id) <= set(saved.load(folder / "train").vm_id)


def test_private_keys_are_their_owner_s_alone(tmp_path: Path) -> None:
    assert main(["keys", str(tmp_path / "link"), "--host", "link.example.org"]) == 0
    assert main(["keys", str(tmp_path / "east"), "--region", "east"]) == 0
    private = [tmp_path / "link/link.key", tmp_path / "link/driver.secret", tmp_path / "east/east.key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600] * 3
    assert list(keys.public_keys(tmp_path / "link")) == []
    shutil.copy(tmp_path / "east/east.pub", tmp_path / "link/regions")
    assert list(keys.public_keys(tmp_path / "link")) == ["east"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keys.make_region(tmp_path, "east")
    (tmp_path / "east.key").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys.private_key(tmp_path / "east.key")


@pytest.mark.parametrize(
    "address", ["link.example.org", "https://localhost:9092", "::1:9092", "localhost:0", "localhost:65536", "a b:9092"]
)
def test_an_address_is_a_host_and_a_port(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["node", address, "--key", "k", "--authority", "a", "--table", "t"])
    assert f"must be HOST:PORT, such as link.example.org:9092, got {address!r}" in capsys.readouterr().err


@pytest.mark.parametrize("epsilon", ["0", "-1", "nan", "inf", "much"])
def test_a_node_s_epsilon_is_a_number_above_0(epsilon: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["node", "[::1]:1", "--key", "k", "--authority", "a", "--table", "t", f"--epsilon={epsilon}"])
    assert f"must be a number above 0, such as 8, got '{epsilon}'" in capsys.readouterr().err


def test_a_node_that_is_told_to_end_leaves_nothing_of_its_data_behind(real: Real, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    synthetic.generate(synthetic.Fleet(vms=2, days=6)).write_csv(tmp_path / "table.csv")
    command = [*node(real, "east", "127.0.0.1:1")[:-2], "--table", str(tmp_path / "table.csv")]
    east = real.start("east", command, ["env", f"TMPDIR={made}"])
    until(lambda: "windows are made of" in real.log("east"), "it makes its windows")
    assert list(made.iterdir())
    east.send_signal(signal.SIGTERM)
    assert east.wait() == 128 + signal.SIGTERM
    assert list(made.iterdir()) == []


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    keys.make_region(tmp_path, "east")
    monkeypatch.setattr("fcntl.flock", refused)
    with (
        pytest.raises(ConfigurationError, match=r"a lock on .*east\.key sees to, .*: No locks available; keep the key"),
        keys.alone(tmp_path / "east.key"),
    ):
        pytest.fail("it is nobody's")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["keys", "{0}", "--region", "../east"], "a region's name is up to 63 letters"),
        (["keys", "{0}/link"], "the keys of a link are made once"),
        (["link", "{0}/nowhere"], "must be a readable file"),
        (
            ["node", "127.0.0.1:1", "--key", "{0}/east.key", "--authority", "{0}/east.pub", "--windows", "{0}"],
            "is none",
        ),
        (
            [
                "node",
                "127.0.0.1:1",
                "--key",
                "{0}/east.key",
                "--authority",
                "{0}/link/authority.pem",
                "--windows",
                "{0}",
            ],
            "has no train",
        ),
        (
            [
                "node",
                "127.0.0.1:1",
                "--key",
                "{0}/east.key",
                "--authority",
                "{0}/link/authority.pem",
                "--table",
                "{0}/no",
            ],
            "is not there",
        ),
        (
            [
                "node",
                "127.0.0.1:1",
                "--key",
                "{0}/east.key",
                "--authority",
                "{0}/link/authority.pem",
                "--table",
                "{0}/strange.csv",
            ],
            "ingest says",
        ),
    ],
)
def test_a_mistake_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    keys.make_link(tmp_path / "link", ["127.0.0.1"])
    keys.make_region(tmp_path, "east")
    (tmp_path / "strange.csv").write_text("colour,size\nred,1\n")
    assert main([word.format(tmp_path) for word in words]) != 0
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
