"""What is decided of a rollout: how often wrongly (1,000 simulated A/A rollouts), and how surely rightly."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from fleetml.serving.rollout.decision import Evidence, Hypothesis, Policy, Progress, Side, decide, signed_rank
from tests.serving.rollout.simulation import World, rollout

POLICY = Policy()
GOOD = Side(answers=1000, failures=0, p99_ms=2.0)
ERRORS = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0])
EVIDENCE = Evidence(
    mode="canary",
    share=0.5,
    served=GOOD,
    second=GOOD,
    served_error=ERRORS,
    second_error=ERRORS * np.linspace(0.7, 0.8, 8),
    rows=100,
    step_rows=1000,
    step_minutes=120.0,
    age_hours=2.0,
)


def ended(world: World, rollouts: int) -> Counter[str]:
    random = np.random.default_rng(0)
    policy = replace(POLICY, patience_hours=float(world.looks))
    return Counter(rollout(world, policy, random).action for _ in range(rollouts))


def test_of_1000_rollouts_of_a_version_that_is_no_better_at_most_5_percent_are_promoted() -> None:
    found = ended(World(), 1000)
    assert found["promote"] <= POLICY.alpha * 1000
    assert found["rollback"] == 1000 - found["promote"]  # patience ends the others


@pytest.mark.parametrize("world", [World(vms=20), World(vms=300, taste=0.05, memory=0.99)])
def test_neither_few_vms_nor_errors_that_hang_together_make_it_more(world: World) -> None:
    assert ended(world, 200)["promote"] <= POLICY.alpha * 200


def test_a_version_that_is_much_better_is_promoted_and_one_that_is_much_worse_never() -> None:
    assert ended(World(ratio=0.5, vms=24), 100)["promote"] >= 90
    assert ended(World(ratio=0.75), 100)["promote"] >= 85
    assert ended(World(ratio=1.25), 100) == Counter(rollback=100)


def test_promotion_needs_the_last_step() -> None:
    assert decide(EVIDENCE, Progress(), POLICY).action == "promote"
    for share, following in ((0.05, 0.25), (0.25, 0.5)):
        found = decide(replace(EVIDENCE, share=share), Progress(), POLICY)
        assert (found.action, found.share) == ("advance", following)


@pytest.mark.parametrize("less", [{"step_rows": 90}, {"step_minutes": 59.0}])
def test_a_step_lasts_until_enough_was_judged_over_enough_time(less: dict[str, float]) -> None:
    assert decide(replace(EVIDENCE, share=0.25, **less), Progress(), POLICY).action == "wait"
    assert decide(replace(EVIDENCE, **less), Progress(), POLICY).action == "wait"


def test_the_same_graph_is_never_better_than_itself() -> None:
    noise = 1 - 1e-6 * np.arange(1, 9)  # as another batch size makes
    found = decide(replace(EVIDENCE, second_error=ERRORS * noise), Progress(), POLICY)
    assert (found.action, found.progress.better.p) == ("wait", 1.0)


def test_better_for_most_vms_but_worse_for_the_fleet_is_not_promoted() -> None:
    second = ERRORS * np.array([0.5] * 7 + [4.0])
    shown = Progress(better=Hypothesis(1, 200, 0.01))
    assert decide(replace(EVIDENCE, second_error=second), shown, POLICY).action == "wait"


def test_looking_again_at_the_same_rows_is_no_new_look() -> None:
    seen = decide(EVIDENCE, Progress(), POLICY).progress
    assert seen.better.looks == 1
    assert decide(replace(EVIDENCE, rows=199), seen, POLICY).progress == seen
    assert decide(replace(EVIDENCE, rows=200), seen, POLICY).progress.better.looks == 2


def test_a_look_that_could_not_reject_costs_nothing() -> None:
    few = replace(EVIDENCE, served_error=ERRORS[:5], second_error=ERRORS[:5] / 2)
    assert decide(few, Progress(), POLICY).progress == Progress()


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Side(50, 50), "50 of 50 questions failed"),
        (Side(1000, 11, 2.0), "11 of 1000 questions failed"),
        (Side(1000, 0, 11.0, 10.1), "p99 of at least 10.1 ms is above 10.0 ms"),
    ],
)
@pytest.mark.parametrize("mode", ["canary", "ab", "shadow"])
def test_failures_and_slowness_end_any_rollout(second: Side, reason: str, mode: str) -> None:
    found = decide(replace(EVIDENCE, mode=mode, second=second), Progress(), POLICY)
    assert found.action == "rollback"
    assert reason in found.reason


@pytest.mark.parametrize("second", [Side(49, 49), Side(1000, 10, 2.0), Side(1000, 0, 50.0, 9.9)])
def test_a_few_failures_and_answers_within_budget_do_not(second: Side) -> None:
    assert decide(replace(EVIDENCE, second=second), Progress(), POLICY).action == "promote"


def test_gross_errors_end_a_rollout_before_enough_vms_have_had_them_to_prove_it() -> None:
    few = replace(EVIDENCE, share=0.05, served_error=ERRORS[:2], second_error=ERRORS[:2] * 2.1)
    found = decide(few, Progress(), POLICY)
    assert found.action == "rollback"
    assert "more than 2 times the served version's (error +110.0%, 2 VMs" in found.reason
    assert decide(replace(few, second_error=ERRORS[:2] * 1.9), Progress(), POLICY).action == "advance"
    assert decide(replace(few, rows=49), Progress(), POLICY).action == "advance"


def test_a_slow_server_is_not_the_second_version_s_fault() -> None:
    slow = replace(EVIDENCE, served=Side(1000, 0, 40.0), second=Side(1000, 0, 90.0, 79.0))
    assert decide(slow, Progress(), POLICY).action == "promote"


def test_what_shows_nothing_ends_but_an_a_b_test_ends_by_hand() -> None:
    late = replace(EVIDENCE, second_error=ERRORS[::-1], age_hours=72.0)
    assert decide(late, Progress(), POLICY).action == "rollback"
    assert decide(replace(late, mode="shadow"), Progress(), POLICY).action == "rollback"
    assert decide(replace(late, mode="ab"), Progress(), POLICY).action == "wait"


@pytest.mark.parametrize("mode", ["ab", "shadow"])
def test_only_a_canary_is_promoted_by_itself(mode: str) -> None:
    found = decide(replace(EVIDENCE, mode=mode), Progress(), POLICY)
    assert found.action == "wait"
    assert found.progress.better.p <= POLICY.alpha  # and yet it is told
    assert "a person decides" in found.reason


def test_without_truth_nothing_is_shown() -> None:
    none = np.array([])
    found = decide(replace(EVIDENCE, served_error=none, second_error=none, rows=0, step_rows=0), Progress(), POLICY)
    assert found.action == "wait"


def test_the_signed_rank_test_is_exact_in_small_fleets() -> None:
    assert signed_rank(-np.arange(1.0, 7.0)) == pytest.approx(0.5**6)
    assert signed_rank(np.arange(1.0, 7.0)) == 1.0


@pytest.mark.parametrize("vms", [1, 7, 50, 60, 300])
def test_the_signed_rank_test_is_scipy_s(vms: int) -> None:
    random = np.random.default_rng(vms)
    for shift in (-0.3, 0.0, 0.3):
        d = random.normal(shift, 1, vms)
        d = d[np.abs(d) > 1e-3]
        method = "exact" if vms <= 50 else "asymptotic"
        expected = wilcoxon(d, alternative="less", method=method, correction=True).pvalue
        assert signed_rank(d) == pytest.approx(float(expected), rel=1e-6)
