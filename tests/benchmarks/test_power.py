"""How measured encodes are split, so that what is left out was not seen."""

import numpy as np
import pytest

from benchmarks import power
from fleetml.cost.power.fit import fit
from fleetml.cost.power.rows import Row


def row(watts: float, streams: float = 1.0) -> Row:
    return Row(watts, {"streams": streams})


def test_a_video_is_never_seen_and_left_out() -> None:
    found = [(f"video-{index % 7}", row(1.0 + index % 7, index)) for index in range(70)]
    folds = power._by_video(found)
    for seen, unseen in folds:
        assert {it.watts for it in seen} & {it.watts for it in unseen} == set()
    assert sorted(it.features["streams"] for _, unseen in folds for it in unseen) == list(range(70))  # type: ignore[type-var]


def test_each_row_is_left_out_once() -> None:
    found = [row(float(index)) for index in range(4)]
    folds = power._one_by_one(found)
    assert [unseen[0].watts for _, unseen in folds] == [0.0, 1.0, 2.0, 3.0]
    assert all(unseen[0] not in seen and len(seen) == 3 for seen, unseen in folds)


def test_both_sides_of_the_clock_find_intervals_of_about_one_width() -> None:
    """Their penalty is 1, ours is chosen, so the ends differ by what is shrunk."""
    rng = np.random.default_rng(0)
    found = [row(5 + 3 * streams + rng.standard_normal(), float(streams)) for streams in range(1, 31)]
    low, high = power._scikit(found)
    ours = [fit(found, "load").predict(it.features) for it in found]
    assert np.mean([it.high - it.low for it in ours if it]) == pytest.approx(np.mean(high - low), rel=0.3)
