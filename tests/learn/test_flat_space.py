import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from fleetml.learn import flat_space, search_space
from fleetml.learn.architectures import FAMILIES
from fleetml.learn.search_space import Range

TWO = {
    "a": {"width": Range(8, 64, 16, log=True), "kernel": Range(2, 5, 3), "rate": Range(0.1, 1.0, 0.5)},
    "b": {"width": Range(1, 3, 2), "patch": Range(6, 48, 24), "rate": Range(0.1, 1.0, 0.2), "heads": Range(1, 8, 4)},
}


def test_what_all_families_share_is_itself_and_the_rest_a_place_in_a_range():
    space = flat_space.flat(TWO)
    assert list(space) == ["family", "width", "kernel_or_patch", "rate", "heads"]
    assert space["family"] == CategoricalDistribution(["a", "b"])
    assert space["rate"] == FloatDistribution(0.1, 1.0)
    assert all(space[name] == FloatDistribution(0.0, 1.0) for name in ("width", "kernel_or_patch", "heads"))


def test_a_point_means_the_same_place_in_each_family():
    params = {"width": 1.0, "kernel_or_patch": 0.0, "rate": 0.3, "heads": 0.5}
    assert flat_space.point({"family": "a", **params}, TWO) == ("a", {"width": 64, "kernel": 2, "rate": 0.3})
    assert flat_space.point({"family": "b", **params}, TWO) == (
        "b",
        {"width": 3, "patch": 6, "rate": 0.3, "heads": pytest.approx(4.5, abs=0.6)},
    )


@pytest.mark.parametrize("families", [TWO, FAMILIES], ids=["two", "architectures"])
def test_starts_mean_the_defaults(families):
    space = flat_space.flat(families)
    starts = flat_space.starts(families)
    assert [start["family"] for start in starts] == list(families)
    for start in starts:
        assert list(start) == list(space)
        family, meant = flat_space.point(start, families)
        assert meant == pytest.approx(search_space.defaults(families[family]))
        for name, each in space.items():
            assert each._contains(each.to_internal_repr(start[name]))
