import numpy as np

from benchmarks import bandwidth


def test_the_rule_for_the_predictable_half_sees_no_held_out_step():
    random = np.random.default_rng(0)
    day = np.tile(np.arange(1.0, 13), 10)
    values = np.stack(
        [day, day + random.normal(0, 1, 120), random.uniform(1, 12, 120), np.zeros(120), day + random.normal(0, 3, 120)]
    )
    half = bandwidth.predictable(values, 12)
    assert half.tolist() == [True, True, False, False, False], "a VM that moves nothing is of neither half"
    changed = values.copy()
    changed[:, 96:] = random.uniform(0, 99, (5, 24))
    assert bandwidth.predictable(changed, 12).tolist() == half.tolist()
