import json

import optuna
import pytest

from fleetml.learn import search_space
from fleetml.learn.search_space import Range

FAMILIES = {
    "a": {"width": Range(8, 64, 16, log=True), "rate": Range(1e-4, 1e-1, 1e-3, log=True)},
    "b": {"width": Range(1, 3, 2), "share": Range(0.0, 1.0, 0.5)},
}


def test_starts_are_the_defaults_of_each_family_in_order():
    assert search_space.starts(FAMILIES) == [
        {"family": "a", "a.width": 16, "a.rate": 1e-3},
        {"family": "b", "b.width": 2, "b.share": 0.5},
    ]


def test_suggested_values_lie_in_their_ranges_and_keep_their_kind():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(20):
        family, chosen = search_space.suggest(study.ask(), FAMILIES)
        assert set(chosen) == set(FAMILIES[family])
        for name, value in chosen.items():
            field = FAMILIES[family][name]
            assert field.low <= value <= field.high
            assert type(value) is type(field.default)


@pytest.mark.parametrize("value", [1e-4, 2e-3, 1e-1, 5.0])
def test_a_narrowed_range_stays_inside_and_holds_its_center(value: float):
    narrow = FAMILIES["a"]["rate"].around(value)
    assert 1e-4 <= narrow.low <= narrow.default <= narrow.high <= 1e-1
    assert narrow.high / narrow.low <= 10.001  # a third of three decades


def test_a_point_read_from_json_is_the_default_of_the_space_around_it():
    center = json.loads(json.dumps({"width": 23, "rate": 0.0123456789}))
    assert search_space.defaults(search_space.around(FAMILIES["a"], center)) == center


def test_what_the_center_does_not_name_keeps_its_default():
    assert search_space.defaults(search_space.around(FAMILIES["b"], {"width": 3})) == {"width": 3, "share": 0.5}
