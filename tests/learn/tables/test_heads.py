"""What models are given: complete and bounded for dense ones, as it is for trees; encodings come from other rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetml.learn.tables import dates, encoding, interactions, numbers
from fleetml.learn.tables.heads import DENSE, FOREST, ROWS, TREE, Heads, declared, heads
from fleetml.learn.tables.members import member
from fleetml.learn.tables.table import CATEGORICAL, DATE, NUMERIC, Feature, Recipe
from fleetml.learn.tables.trained import Folds
from tests.learn.tables.conftest import FEATURES, rows


def made(frame: pl.DataFrame, *features: Feature, target: Any = None, classes: int = 2, ordered: bool = False) -> Heads:
    known = np.arange(len(frame)) % 2 if target is None else target
    return heads(frame, Recipe("y", "", features), known, Folds(np.arange(len(frame)) % 5, ordered), classes=classes)


@pytest.mark.parametrize("target", ["label", "price"])
def test_heads_of_every_kind_of_column(learners: Any, target: str) -> None:
    known = learners(target).heads
    awkward = rows(4, seed=3).with_columns(
        pl.Series("size", [1e30, -1e30, float("inf"), None]),
        pl.Series("gap", [1e30, None, 0.0, -1e30]),
        pl.Series("colour", ["new", None, "", "red"]),
    )
    dense, tree, forest = (known.apply(name, awkward) for name in (DENSE, TREE, FOREST))
    assert np.isfinite(dense).all()
    assert np.abs(dense).max() <= numbers.WIDEST
    assert np.isnan(tree).any()
    assert not np.isnan(forest).any()
    assert dense.shape == (4, known.width(DENSE))
    assert known.apply(DENSE, awkward[:0]).shape == (0, known.width(DENSE))
    trained = known.rows[DENSE]
    assert np.abs(trained.mean(axis=0)).max() < 0.05  # a category of one row is beyond the bound
    assert np.median(trained.std(axis=0)) == pytest.approx(1, abs=1e-3)


def test_what_training_never_missed_is_the_median_and_what_it_missed_stays_missing() -> None:
    frame = pl.DataFrame({"full": [1.0, 2, 3, 4, 9] * 4, "gaps": [1.0, None, 3, 4, float("inf")] * 4})
    known = made(frame, Feature("full", NUMERIC), Feature("gaps", NUMERIC))
    nothing = pl.DataFrame({"full": [None], "gaps": [None]}, {"full": pl.Float64, "gaps": pl.Float64})
    assert np.array_equal(known.apply(TREE, nothing), [[3, np.nan]], equal_nan=True)
    assert known.apply(FOREST, nothing).tolist() == [[3, 2 * 1 - 4 - 1]]
    assert known.width(DENSE) == 3  # and whether the second is there


def test_a_target_encoding_of_a_training_row_comes_from_other_folds() -> None:
    frame = pl.DataFrame({"c": ["a", "a", "b", "b", "c"] * 20, "n": range(100)})
    target = np.random.default_rng(0).integers(0, 2, 100)
    known = made(frame, Feature("c", CATEGORICAL), Feature("n", NUMERIC), target=target)
    place = known.width(TREE) - 1
    folds, mine = np.arange(100) % 5, frame["c"].to_numpy()
    for row in (0, 7, 99):
        others = target[(folds != folds[row])]
        same = target[(folds != folds[row]) & (mine == mine[row])]
        expected = (same.sum() + 10 * others.mean()) / (len(same) + 10)
        assert known.rows[TREE][row, place] == pytest.approx(expected, abs=1e-6)
    served = known.apply(TREE, frame[:1])[0, place]
    assert served == pytest.approx((target[mine == "a"].sum() + 10 * target.mean()) / (40 + 10), abs=1e-6)
    unseen = known.apply(TREE, pl.DataFrame({"c": ["new"], "n": [1]}))[0]
    assert unseen[place] == pytest.approx(target.mean(), abs=1e-6)
    ordered = made(frame, Feature("c", CATEGORICAL), target=target, ordered=True)
    assert (ordered.rows[TREE][folds == 0, -1] == 0).all()  # no fold is earlier


def test_a_code_of_its_own_for_what_is_missing_or_unseen() -> None:
    frame = pl.DataFrame({"c": ["b", "b", None, "a", "c"] * 4})
    known = made(frame, Feature("c", CATEGORICAL))
    asked = pl.DataFrame({"c": ["b", "a", "c", None, "new"]})
    assert known.apply(TREE, asked)[:, 0].tolist() == [0, 1, 2, -1, -2]
    assert len(np.unique(known.apply(DENSE, asked), axis=0)) == 5
    some = encoding.Categories.of(np.array([f"c{at:03}" for at in range(90)] + ["c000"]))
    assert some.one_hot().shape == (92, 66)
    assert some.one_hot().sum(axis=1).tolist() == [1.0] * 92
    assert list(encoding.names_of("c", some))[-2:] == ["c=other", "c=missing"]


def test_many_classes_have_no_target_encoding() -> None:
    assert encoding.encoded_target(np.arange(30), 30) is None
    frame, feature = pl.DataFrame({"c": list("abc") * 10}), Feature("c", CATEGORICAL)
    target = np.random.default_rng(0).integers(0, 3, 30)
    assert [made(frame, feature, target=target, classes=classes).width(TREE) for classes in (30, 3)] == [1, 4]


def test_dates_are_what_the_calendar_says() -> None:
    start = datetime(1, 1, 1)
    random = np.random.default_rng(0)
    when = [start + timedelta(seconds=int(at)) for at in random.integers(0, 3652059 * 86400, 300)]
    when += [datetime(2000, 2, 29, 23, 59, 59), datetime(1900, 3, 1), datetime(1969, 12, 31), datetime(9999, 12, 31)]
    known = made(pl.DataFrame({"t": when}), Feature("t", DATE)).apply(TREE, pl.DataFrame({"t": when}))
    told = dict(zip(dates.NUMBERS, known.T, strict=True))
    assert told["year"].tolist() == [one.year for one in when]
    assert told["month"].tolist() == [one.month for one in when]
    assert told["weekday"].tolist() == [one.weekday() for one in when]
    assert told["day_of_year"].tolist() == [one.timetuple().tm_yday for one in when]
    hours = [one.hour + one.minute / 60 + one.second / 3600 for one in when]
    assert np.allclose(told["hour"], hours, atol=1e-4)


def test_a_missing_date_is_missing_and_one_of_any_form_is_read() -> None:
    frame = pl.DataFrame({"t": [datetime(2020, 1, 1) + timedelta(days=at, hours=at) for at in range(99)] + [None]})
    known = made(frame, Feature("t", DATE))
    gone = frame[-1:]
    assert np.isnan(known.apply(TREE, gone)).all()
    assert np.isfinite(known.apply(DENSE, gone)).all()
    ways = [pl.DataFrame({"t": ["2020-03-01 05:00:00"]}), pl.DataFrame({"t": [1583038800]})]
    zoned = pl.Series("t", ["2020-03-01T06:00:00+01:00"]).str.to_datetime(time_zone="UTC").to_frame()
    same = [known.apply(TREE, one).tolist() for one in (*ways, zoned)]
    assert same[0] == same[1] == same[2]


def test_skewed_numbers_are_straightened() -> None:
    random = np.random.default_rng(0)
    values = np.exp(random.normal(0, 2, 2000))
    frame = pl.DataFrame({"x": values, "plain": random.normal(5, 3, 2000)})
    known = made(frame, Feature("x", NUMERIC), Feature("plain", NUMERIC))
    dense = known.rows[DENSE][:, :2].astype(np.float64)
    assert abs(((dense[:, 0] - dense[:, 0].mean()) ** 3).mean() / dense[:, 0].std() ** 3) < 1.5  # was over 20
    assert np.corrcoef(dense[:, 1], frame["plain"].to_numpy())[0, 1] > 0.999
    from sklearn.preprocessing import power_transform  # the same formula

    assert np.allclose(
        np.corrcoef(numbers.yeo_johnson(values, -0.5), power_transform(values[:, None])[:, 0])[0, 1], 1, atol=0.05
    )


def test_a_product_that_tells_the_target_is_a_column() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 400))
    values = np.stack([x, y, random.normal(size=400)], axis=1).astype(np.float32)
    assert interactions.choose(values, x * y, 0)[0] == (0, 1)
    assert interactions.choose(values, (x * y > 0).astype(np.int64), 2)[0] == (0, 1)
    assert interactions.choose(values, (x**2).astype(np.float32), 0)[0] == (0, 0)
    assert interactions.choose(values, x + y, 0) == []
    frame = pl.DataFrame({"x": x, "y": y})
    features = (Feature("x", NUMERIC), Feature("y", NUMERIC))
    assert made(frame, *features, target=x * y, classes=0).width(DENSE) == 3
    assert made(frame, *features, target=x + y, classes=0).width(DENSE) == 2


def test_declared_transformations_enter_every_head() -> None:
    frame = pl.DataFrame({"x": [1.0, 2, 4, 8] * 5, "z": range(20)})
    known = made(frame, Feature("x", NUMERIC, ("log",)), Feature("z", NUMERIC))
    assert np.allclose(known.rows[TREE][:4, 0], np.log1p([1, 2, 4, 8]))
    assert known.width(DENSE) == 2
    only = declared(frame, (Feature("x", NUMERIC, ("log",)),))
    assert list(only.rows) == [ROWS]
    assert np.allclose(only.rows[ROWS][:4, 0], np.log1p([1, 2, 4, 8]))
    dated = declared(pl.DataFrame({"t": [datetime(2020, 5, 1), None]}), (Feature("t", DATE),))
    assert dated.rows[ROWS][:, 1:3].tolist() == [[2020, 5], [2020, 5]]
    assert dated.rows[ROWS][:, -1].tolist() == [0, 1]


def test_columns_that_are_all_the_same_leave_one() -> None:
    frame = pl.DataFrame({"x": [3.0] * 20})
    known = made(frame, Feature("x", NUMERIC))
    assert [known.width(name) for name in (DENSE, TREE, FOREST)] == [1, 1, 1]
    assert np.isfinite(known.rows[DENSE]).all()


def test_the_same_rows_are_the_same_heads_and_a_member_has_a_name(learners: Any) -> None:
    known = learners("label")
    again = heads(
        known.train,
        Recipe("label", "classification", FEATURES),
        np.array([known.about.classes.index(value) for value in known.train["label"]]),
        np.arange(len(known.train)) % 5,
        classes=2,
    )
    assert again.graph.SerializeToString() == known.heads.graph.SerializeToString()
    one = known.member("constant")
    assert (one.name, one.named("c-1").name, one.head) == ("constant", "c-1", DENSE)
    assert member(known.heads, "constant", one.estimator, True, name="c").name == "c"
