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
