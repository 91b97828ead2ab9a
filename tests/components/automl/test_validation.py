import numpy as np
import polars as pl
import pytest

from components.automl.validation import Effort, effort, held_in, plan
from fleetml.errors import InvalidData


def classes(count=200, rare=20):
    target = np.zeros(count, np.int64)
    target[:rare] = 1
    return np.random.default_rng(0).permutation(target)


def test_each_part_has_its_share_of_each_class_and_every_row_is_held_once_a_time():
    target = classes()
    made = plan(target, True, None, None, Effort(5, times=2), 0)
    assert len(made.folds) == 10
    assert len(made.once) == 5
    assert sorted(np.concatenate([fold.held for fold in made.once])) == list(range(200))
    assert all(target[fold.held].sum() == 4 for fold in made.folds)
    assert all(not np.intersect1d(fold.train, fold.held).size for fold in made.folds)
    assert all((made.parts[fold.held] == number + 1).all() for number, fold in enumerate(made.once))


def test_a_row_that_is_its_class_alone_is_only_learnt_from():
    target = np.append(classes(), 2)
    made = plan(target, True, None, None, Effort(5), 0)
    assert all(200 in fold.train and 200 not in fold.held for fold in made.folds)


def test_classes_of_fewer_rows_than_folds_are_dealt_into_fewer():
    made = plan(np.arange(30) // 3, True, None, None, Effort(5, times=2), 0)
    assert len(made.once) == 3
    assert all(len(np.unique(np.arange(30)[fold.train] // 3)) == 10 for fold in made.folds)
    hosts = pl.Series("host", [f"h{at % 10}" for at in range(30)])
    assert plan(np.arange(30) // 3, True, hosts, None, Effort(5), 0).folds
    with pytest.raises(InvalidData, match="a class must have two rows"):
        plan(np.arange(30), True, None, None, Effort(5), 0)


def test_a_time_must_have_an_order():
    with pytest.raises(InvalidData, match="'when' must hold numbers, dates or times to order rows by, got String"):
        plan(np.zeros(200), False, None, pl.Series("when", [f"day {at}" for at in range(200)]), Effort(3), 0)


def test_a_group_is_on_one_side_of_a_fold():
    groups = pl.Series("host", [f"h{at % 7}" for at in range(200)])
    for classifies in (True, False):
        made = plan(classes(), classifies, groups, None, Effort(5), 0)
        names = np.array(groups.to_list())
        assert all(not set(names[fold.train]) & set(names[fold.held]) for fold in made.folds)
    with pytest.raises(InvalidData, match="'host' must hold two groups"):
        plan(classes(), True, pl.Series("host", ["one"] * 200), None, Effort(5), 0)


def test_in_the_order_of_time_nothing_is_learnt_from_what_comes_later():
    times = pl.Series("when", np.random.default_rng(1).integers(0, 40, 200))
    made = plan(np.zeros(200), False, None, times, Effort(3), 0)
    assert len(made.folds) == 3
    assert made.ordered
    when = times.to_numpy()
    assert all(when[fold.train].max() < when[fold.held].min() for fold in made.folds)
    with pytest.raises(InvalidData, match="more than 5 moments"):
        plan(np.zeros(200), False, None, pl.Series("when", [0, 1] * 100), Effort(5), 0)
    with pytest.raises(InvalidData, match="1 have none"):
        plan(np.zeros(3), False, None, pl.Series("when", [0, 1, None]), Effort(5), 0)


def test_a_fold_that_knows_not_every_class_is_left_out_and_none_left_is_told():
    times = pl.Series("when", range(200))
    target = np.zeros(200, np.int64)
    target[100:] = 1
    made = plan(target, True, None, times, Effort(3), 0)
    assert 0 < len(made.folds) < 3
    late = np.where(np.arange(200) >= 195, 1, 0)
    with pytest.raises(InvalidData, match="rows of every class to learn from, none of 3"):
        plan(late, True, None, times, Effort(3), 0)


def test_many_rows_for_the_time_are_judged_by_fewer_folds():
    assert effort(800, 60) == Effort(5, times=2)
    assert effort(5_000, 60) == Effort(5)
    assert effort(20_000, 60) == Effort(3)
    assert effort(20_000, 600) == Effort(5)
    assert effort(200_000, 60).folds == 1
    made = plan(np.zeros(500), False, None, None, effort(200_000, 60), 0)
    assert len(made.folds) == 1
    assert len(np.unique(made.parts)) == 5


def test_groups_and_moments_go_with_the_folds():
    groups = pl.Series("host", [f"h{at % 7}" for at in range(200)])
    made = plan(classes(), True, groups, None, Effort(5), 0)
    assert len(set(made.together)) == 7
    assert not made.ordered
    times = plan(classes(), True, None, pl.Series("when", list(range(200))[::-1]), Effort(5), 0)
    assert times.together.tolist() == list(range(200))[::-1]
    assert plan(classes(), True, None, None, Effort(5), 0).together is None


def test_folds_whose_encodings_memory_does_not_hold_are_left_out_and_told():
    made = plan(classes(), True, None, None, Effort(5), 0)
    assert held_in(0, made, 10**6) == held_in(4096, made, 100) == held_in(1, made, 0) == (made, "")
    columns = 2**20 // (200 * 4 * 3)  # 1 MB a fold
    few, told = held_in(6, made, columns)
    assert few.folds == made.folds[:3]
    assert few.kind == "stratified, 3 folds"
    assert told == "memory_mb=6 holds the encodings of 3 folds, not of 5 (1 MB each); rows are judged by these"
    assert len(held_in(1, made, 10 * columns)[0].folds) == 1
