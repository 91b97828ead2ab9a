"""Preparing a table: formats, schema, target, objective, split."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.tabular.prepare import objective_of, prepare, split, target_of
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.tables import table
from fleetml.learn.tables.table import SPLIT


def test_every_row_has_its_part_and_each_class_its_share(dataset: Any) -> None:
    made = table.read(dataset(validation_split=0.25, test_split=0.1).path)
    counts = dict(made.frame[SPLIT].value_counts().iter_rows())
    assert counts == {"train": 130, "validation": 50, "test": 20}
    share = (made.frame["label"] == "yes").mean()
    for part in counts:
        assert abs((made.part(part)["label"] == "yes").mean() - share) < 0.07
    assert [feature.name for feature in made.recipe.features] == ["age", "income", "city", "spend"]


def test_the_same_rows_are_the_same_bytes_and_a_seed_draws_another_split(dataset: Any) -> None:
    first = dataset().path.read_bytes()
    assert dataset().path.read_bytes() == first
    assert dataset(seed=1).path.read_bytes() != first


def test_parquet_folders_and_formats(tmp_path: Path, new: Any, csv: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    frame = pl.read_csv(csv)
    frame[:50].write_parquet(folder / "a.parquet")
    frame[50:].write_parquet(folder / "b.parquet")
    made = new("made")
    prepare(str(folder), made, new("m"))
    assert len(table.read(made.path).frame) == 200
    odd = tmp_path / "rows.txt"
    odd.write_bytes(csv.read_bytes())
    with pytest.raises(InvalidData, match="tells no format; give format: csv or parquet"):
        prepare(str(odd), made, new("m"))
    prepare(str(odd), made, new("m"), format="CSV")
    prepare(f"file://{csv}", made, new("m"))
    expected = table.read(made.path).frame
    for place, text in [("a.csv.gz", csv.read_text()), ("b.csv", csv.read_text().replace(",", ";"))]:
        content = text.encode()
        (tmp_path / place).write_bytes(gzip.compress(content) if place.endswith("gz") else content)
        prepare(str(tmp_path / place), made, new("m"))
        assert table.read(made.path).frame.equals(expected)


@pytest.mark.parametrize(
    ("columns", "asked", "found"),
    [
        (["a", "Label", "b"], "", "Label"),
        (["a", "target", "label"], "", "target"),
        (["a", "b"], "", "b"),
        (["a", "b"], "a", "a"),
    ],
)
def test_the_target_is_named_or_found_by_the_rule(columns: list[str], asked: str, found: str) -> None:
    frame = pl.DataFrame({name: [1, 2] for name in columns})
    assert target_of(frame, asked, "x") == found


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 2], "classification"),
        ([0.0, 1.0], "classification"),
        (list(range(30)), "regression"),
        ([0.5, 1.5], "regression"),
    ],
)
def test_the_objective_follows_from_the_target(values: list[Any], kind: str) -> None:
    assert objective_of(pl.Series("t", values), "") == kind


def test_an_objective_that_is_given_is_kept_and_must_fit() -> None:
    assert objective_of(pl.Series("t", [0, 1]), "regression") == "regression"
    assert objective_of(pl.Series("t", [0, 1]), "binary_classification") == "classification"
    with pytest.raises(InvalidData, match="regression needs numbers"):
        objective_of(pl.Series("t", ["a", "b"]), "regression")
    with pytest.raises(InvalidParameter, match="objective must be one of"):
        objective_of(pl.Series("t", [0, 1]), "clustering")
    with pytest.raises(InvalidData, match="must vary"):
        objective_of(pl.Series("t", [1, 1]), "")


def test_a_schema_chooses_and_casts_columns_and_refuses_what_breaks_it(tmp_path: Path, new: Any) -> None:
    path, made = tmp_path / "t.csv", new("made")
    path.write_text("a,b,label\n" + "".join(f"{i},x{i % 3},{i % 2}\n" for i in range(20)))
    prepare(str(path), made, new("m"), schema={"a": "float", "label": "string"})
    frame = table.read(made.path).frame
    assert dict(frame.schema) == {"a": pl.Float64, "label": pl.String, SPLIT: pl.String}
    for schema, said in [
        ({"c": "int"}, "the schema's column 'c' is missing"),
        ({"b": "int", "label": "int"}, r"column 'b' must hold a whole number \(int\), row 1 holds 'x0'"),
    ]:
        with pytest.raises(InvalidData, match=said):
            prepare(str(path), made, new("m"), schema=schema)
    with pytest.raises(InvalidParameter, match=r"schema\.a must be one of float"):
        prepare(str(path), made, new("m"), schema={"a": "complex"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,label\n", "holds? rows"),
        ("a,label\n1,2\n", "at least 10 rows"),
        ("a,label\n" + "1,2\n1,3\n" * 2, "a column beside the target that varies|at least 10 rows"),
        ("label\n" + "1\n2\n" * 10, "a column beside the target"),
        ("a,label\n" + "1,\n" * 20, "at least 10 rows with a target, got 0"),
        ("a,label\n" + "1,2\n" * 20, "must vary"),
    ],
)
def test_too_little_data_is_refused(tmp_path: Path, new: Any, content: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InvalidData, match=said):
        prepare(str(path), new("made"), new("m"))


def test_what_cannot_be_read_names_the_remedy(tmp_path: Path, new: Any) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no")
    for place, said in [
        ("rows.csv", "give an absolute path or a URL"),
        (str(tmp_path / "none.csv"), "no such file"),
        (str(tmp_path / "empty"), "holds no CSV or Parquet"),
        (str(broken), "cannot be read as parquet"),
        ("memory://none.csv", "cannot be read as csv"),
    ]:
        with pytest.raises(InvalidData, match=said):
            prepare(place, new("made"), new("m"))
    with pytest.raises(InvalidParameter, match="format must be one of"):
        prepare(str(broken), new("made"), new("m"), format="xml")


def test_a_column_name_that_stands_twice_is_refused_by_name(tmp_path: Path, new: Any) -> None:
    place = tmp_path / "twice.csv"
    place.write_text("region,a,region,y\n" + "x,1,z,0\ny,2,w,1\n" * 10)
    with pytest.raises(
        InvalidData, match=r"twice\.csv: columns of a CSV have different names, 'region' more than once"
    ):
        prepare(str(place), new("made"), new("m"))


def test_columns_without_a_name_may_be_many(tmp_path: Path, new: Any) -> None:
    place = tmp_path / "unnamed.csv"
    place.write_text("a,y,,\n" + "1,0,,\n2,1,,\n" * 10)
    made = new("made")
    prepare(str(place), made, new("m"), target="y")
    assert [feature.name for feature in table.read(made.path).recipe.features] == ["a"]


def test_shares_that_leave_no_training_rows_are_refused(csv: Path, new: Any) -> None:
    with pytest.raises(InvalidParameter, match="both together below 1"):
        prepare(str(csv), new("made"), new("m"), validation_split=0.6, test_split=0.4)


def test_rows_without_a_target_and_columns_that_are_no_feature_are_left_out(tmp_path: Path, new: Any) -> None:
    days = [datetime.date(2026, 1, 1 + i % 28) for i in range(40)]
    target = [None if i == 3 else float("nan") if i == 4 else i / 7 for i in range(40)]
    frame = pl.DataFrame({"day": days, "same": [1] * 40, "list": [[1]] * 40, "x": range(40), "target": target})
    frame.write_parquet(tmp_path / "t.parquet")
    made, metrics = new("made"), new("m")
    prepare(str(tmp_path / "t.parquet"), made, metrics)
    found = table.read(made.path)
    assert [(feature.name, feature.type) for feature in found.recipe.features] == [("day", "date"), ("x", "numeric")]
    assert (len(found.frame), metrics.metadata["without_target"]) == (38, 2)


def test_a_group_is_in_one_part_and_the_latest_rows_are_the_test_rows(tmp_path: Path, new: Any) -> None:
    rows = pl.DataFrame({"host": [f"h{i % 12}" for i in range(240)], "when": [(i * 7) % 240 for i in range(240)]})
    rows.with_columns(x=pl.int_range(240), label=pl.int_range(240) % 2).write_csv(tmp_path / "t.csv")
    made = new("made")
    prepare(str(tmp_path / "t.csv"), made, new("m"), group="host", test_split=0.2)
    found = table.read(made.path)
    assert found.frame.group_by("host").agg(pl.col(SPLIT).n_unique())[SPLIT].max() == 1
    assert 20 <= len(found.part("test")) <= 60
    prepare(str(tmp_path / "t.csv"), made, new("m"), time_column="when", test_split=0.2)
    found = table.read(made.path)
    order = [found.part(part)["when"] for part in ("train", "validation", "test")]
    assert [len(each) for each in order] == [144, 48, 48]
    assert order[0].max() < order[1].min()
    assert order[1].max() < order[2].min()
    for parameters, error, said in [
        ({"group": "host", "time_column": "when"}, InvalidParameter, "give one of them"),
        ({"group": "nobody"}, InvalidParameter, "group must be a column, got 'nobody'"),
        ({"group": "label", "test_split": 0.6}, InvalidData, "no train rows are left"),
        ({"time_column": "host"}, InvalidData, "numbers, dates or times to order rows by, got String"),
    ]:
        with pytest.raises(error, match=said):
            prepare(str(tmp_path / "t.csv"), made, new("m"), **parameters)


def test_a_date_is_no_target(tmp_path: Path, new: Any) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,due\n" + "".join(f"{i},2026-01-{1 + i % 28:02}\n" for i in range(40)))
    with pytest.raises(InvalidData, match="'due' must be a number, a text or a truth value, got Date"):
        prepare(str(path), new("made"), new("m"))


def test_a_rare_class_is_in_the_training_rows() -> None:
    classes = pl.Series(["a"] * 95 + ["b"] * 5)
    made = split(pl.DataFrame({"x": range(100), "y": classes}), classes, 0.2, 0.1, seed=0)
    assert set(made.filter(pl.col(SPLIT) == "train")["y"]) == {"a", "b"}


@pytest.mark.parametrize("seed", range(5))
def test_each_class_has_its_share_whatever_the_seed(seed: int) -> None:
    classes = pl.Series(["a", "b"] * 100)
    made = split(pl.DataFrame({"x": range(200), "y": classes}), classes, 0.2, 0.1, seed)
    counts = made.filter(pl.col("y") == "a")[SPLIT].value_counts()
    found = dict(counts.iter_rows())
    assert abs(found["test"] - 10) <= 1
    assert abs(found["validation"] - 20) <= 1


def test_a_file_of_another_make_is_no_dataset(csv: Path) -> None:
    with pytest.raises(InvalidData, match="a dataset must be what DATA_PREPROCESSING writes"):
        table.read(csv)
