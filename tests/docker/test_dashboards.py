"""Grafana dashboards: their form, and that each panel shows something of a stack that runs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetml.stack.processes import wait_until
from tests.docker.observed import Observed, needs_prometheus, observed

__all__ = ["observed"]

ROOT = Path(__file__).parents[2]
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docker/grafana/dashboards").glob("*"))
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = re.compile(r"\b(?:model|fleetml|grpc|http|circuit|prediction)_[a-z_]+|\bup\b")
each_dashboard = pytest.mark.parametrize("board", DASHBOARDS.values(), ids=list(DASHBOARDS))


def queries(board: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target


def filled(expression: str) -> str:
    """Put in what Grafana puts in: an hour's range, and all models, pipelines and engines."""
    for name, value in {"$__rate_interval": "1h", "$__range": "1h"}.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$[a-z]+", ".*", expression)


def test_there_are_dashboards_for_what_runs() -> None:
    assert list(DASHBOARDS) == ["cost", "drift", "pipelines", "qoe", "results", "rollout", "serving"]
    uids = [board["uid"] for board in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)


@each_dashboard
def test_grafana_can_place_and_fill_every_panel(board: Mapping[str, Any]) -> None:
    assert board["schemaVersion"] >= 39
    assert board["title"].startswith("FleetML")
    assert board["templating"]["list"][0]["name"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"] == SOURCE
        assert panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        assert all(target["datasource"] == SOURCE for target in panel["targets"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{one} and {other} overlap"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@each_dashboard
def test_every_variable_of_a_query_is_one_of_the_dashboard(board: Mapping[str, Any]) -> None:
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval", "__range"}
    for name, target in queries(board):
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= known, name


def test_compose_mounts_what_the_configurations_name() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    provider = yaml.safe_load((ROOT / "docker/grafana/dashboards.yaml").read_text())["providers"][0]
    mounts = [mount.split(":") for mount in services["grafana"]["volumes"] if mount.startswith("./")]
    assert ["./grafana/dashboards", provider["options"]["path"], "ro"] in mounts
    for name in ("grafana", "prometheus", "alertmanager"):
        places = [mount.split(":")[0] for mount in services[name]["volumes"] if mount.startswith("./")]
        assert places
        assert all((ROOT / "docker" / place).exists() for place in places)
    jobs = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())["scrape_configs"]
    hosts = {target.split(":")[0] for job in jobs for target in job["static_configs"][0]["targets"]}
    assert hosts - {"localhost"} <= set(services)


@needs_prometheus
def test_every_panel_shows_something_of_a_running_stack(observed: Observed) -> None:
    """Each query is taken by Prometheus, finds samples that are numbers, and those have the labels of its legend."""
    wanted = {(key, name): target for key, board in DASHBOARDS.items() for name, target in queries(board)}
    missing = dict(wanted)

    def all_shown() -> bool:
        observed.make_figures()
        for place, target in list(missing.items()):
            found = observed.ask(filled(target["expr"]))
            shown = [sample for sample in found if sample["value"][1] != "NaN"]
            if shown:
                legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                assert all(legend <= set(sample["metric"]) for sample in shown), (place, shown[0])
                del missing[place]
        return not missing

    assert wait_until(all_shown, 180, 1.0), {place: target["expr"] for place, target in missing.items()}


@needs_prometheus
def test_what_the_variables_offer_is_there(observed: Observed) -> None:
    asked = [
        variable["definition"]
        for board in DASHBOARDS.values()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert asked
    for definition in asked:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", definition).groups()  # type: ignore[union-attr]
        assert wait_until(lambda: observed.label_values(metric, label), 120, 1.0), definition  # noqa: B023 - at once


@needs_prometheus
def test_alerts_ask_for_what_is_really_exported(observed: Observed) -> None:
    assert wait_until(lambda: all(group["rules"] for group in observed.rules()), 120, 1.0)
    rules = [rule for group in observed.rules() for rule in group["rules"]]
    assert len(rules) == 14
    named = {name for rule in rules for name in OURS.findall(re.sub(r"\b(?:by|on) \([^)]*\)", "", rule["query"]))}
    named -= {"grpc_method", "grpc_code"}
    assert "fleetml_step_queue_seconds_bucket" in named
    known: set[str] = set()

    def exported() -> bool:
        observed.make_figures()
        known.update(observed.names())
        return named <= known

    assert wait_until(exported, 120, 1.0), named - known
