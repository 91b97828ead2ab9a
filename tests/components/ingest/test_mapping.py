"""A mapping that is wrong says which key of which file, and what is allowed there."""

from pathlib import Path

import pytest

from components.ingest.mapping import BUILT_IN, Mapping, Queries, load, recognise
from fleetml.errors import ConfigurationError, InvalidData


def test_every_shipped_mapping_loads():
    kinds = {path.stem: type(load(path.stem)) for path in BUILT_IN.glob("*.yaml")}
    assert kinds.pop("node_exporter") is Queries
    assert set(kinds.values()) == {Mapping}


GOOD = "columns: {vm_id: a, timestamp: b, cpu_usage: c}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("columns: [", "must be YAML"),
        ("- a", "must be a YAML mapping"),
        ("separator: ','", "'columns' must map"),
        (GOOD + "seperator: ';'", "unknown 'seperator'; allowed: columns"),
        ("columns: {vm_id: a, cpu_usage: c}", "must have timestamp"),
        ("columns: {vm_id: a, timestamp: b, cpu: c}", "columns has unknown 'cpu'"),
        ("columns: {vm_id: a, timestamp: {column: b, unit: h}}", "timestamp.unit must be one of auto"),
        ("columns: {vm_id: a, timestamp: b, cpu_usage: {column: c, scale: x}}", "scale must be a number"),
        ("columns: {vm_id: a, timestamp: b, cpu_usage: {scale: 2}}", "needs either 'column' or 'file: stem'"),
        ("columns: {vm_id: a, timestamp: b, cpu_usage: 3}", "must be a column name or a mapping"),
        ("columns: {vm_id: a, timestamp: b, cpu_usage: {column: c, factor: 2}}", "unknown 'factor'"),
        (GOOD + "separator: 5", "needs a text for separator, got 5"),
        (GOOD + "separator: '::'", "separator must be one character"),
        (GOOD + "decimal: 7", "needs a text for decimal, got 7"),
        ("columns: {vm_id: a, timestamp: {column: b, format: 5}}", "timestamp needs a text for format, got 5"),
        ("columns: {vm_id: a, timestamp: {column: b, zone: Mars/Olympus}}", "zone must be a time zone's name"),
        (GOOD + "constants: {cpu_cores: four}", "constants.cpu_cores must be a number, got 'four'"),
        (GOOD + "constants: {region: 4}", "constants.region must be a text, got 4"),
        (GOOD + "constants: {cpu_usage: 4}", "cpu_usage is a column and a constant"),
        ("queries: {cpu_usage: 5}", "queries needs a text for cpu_usage, got 5"),
        ("queries: [cpu_usage]", "'queries' must map"),
        ("queries: {cpu_usage: up}\nprometheus: {step_seconds: soon}", "step_seconds must be whole seconds"),
        ("queries: {cpu_usage: up}\nprometheus: {vm_label: 5}", "prometheus needs a text for vm_label"),
        (GOOD + "constants: {zone: eu}", "constants has unknown 'zone'"),
        ("queries: {cpu: up}", "queries has unknown 'cpu'"),
        ("queries: {cpu_usage: up}\nprometheus: {step: 5}", "prometheus has unknown 'step'"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, text: str, words: str):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        load(str(tmp_path / "m.yaml"))


def test_the_nearest_format_and_its_missing_column_are_named():
    columns = [c.column for c in load("bitbrains").columns.values() if c.column]
    assert recognise("x", [*columns, "more"]).name == "bitbrains"
    columns.remove("Memory usage [KB]")
    with pytest.raises(InvalidData, match=r"'Memory usage \[KB\]' is missing \(nearest known format: bitbrains\)"):
        recognise("x", columns)
