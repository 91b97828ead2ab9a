"""Noise from (epsilon, delta), and the ledger of what is spent."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from components.federated import privacy, stream
from components.federated.channel import BudgetSpent
from components.federated.privacy import Ledger, Mechanism
from fleetml.errors import InvalidData, InvalidParameter


def mechanism(kind: str = "central", rounds: int = 8, epsilon: float = 8.0) -> Mechanism:
    return privacy.mechanism(kind, epsilon, 1e-5, 1.0, rounds)


def spend(ledger: Ledger, rounds: int, by: Mechanism, names: tuple[str, ...] = ("east", "west")) -> Ledger:
    for _ in range(rounds):
        ledger = ledger.charged(names, by)
    return ledger


def test_the_accountant_agrees_with_another() -> None:
    """dp-accounting's privacy loss distributions, which know nothing of how Gaussians compose."""
    from dp_accounting import GaussianDpEvent, pld

    other = pld.PLDAccountant()
    other.compose(GaussianDpEvent(1.43), 5)
    spent = spend(Ledger(), 5, Mechanism("central", 100, 1e-5, 1, 1.43)).spent(1e-5)
    assert spent == pytest.approx(other.get_epsilon(1e-5), rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.5, 1, 8])
def test_the_rounds_planned_spend_the_budget_and_no_more(epsilon: float) -> None:
    by = mechanism(rounds=12, epsilon=epsilon)
    spent = spend(Ledger(), 12, by)
    assert spent.spent(1e-5) == pytest.approx(epsilon, rel=1e-6)
    with pytest.raises(BudgetSpent, match=r"region 'east' would spend epsilon .* of .* larger epsilon or fewer rounds"):
        spent.charged(["east"], by)


def test_the_gaussian_mechanism_keeps_its_promise() -> None:
    """Balle and Wang's condition, by the normal distribution itself: delta(epsilon) of one round."""
    from scipy.stats import norm

    z, epsilon = privacy.multiplier_for(2.0, 1e-5, 1), 2.0
    delta = norm.cdf(1 / (2 * z) - epsilon * z) - math.exp(epsilon) * norm.cdf(-1 / (2 * z) - epsilon * z)
    assert delta == pytest.approx(1e-5, rel=1e-3)


def test_a_region_spends_in_the_rounds_in_which_it_takes_part() -> None:
    by = mechanism(rounds=2)
    ledger = Ledger().charged(["east"], by).charged(["west"], by).charged(["east"], by)
    assert not ledger.may("east", by)
    assert ledger.may("west", by)
    assert ledger.spent(1e-5) == pytest.approx(8)


def test_a_ledger_survives_as_json() -> None:
    ledger = spend(Ledger(), 3, mechanism())
    assert Ledger.of(json.loads(json.dumps(ledger.as_record()))) == ledger
    assert Ledger.of({}).spent(1e-5) == 0


@pytest.mark.parametrize(
    "record", [None, [1], {"east": 3}, {"east": [0, 1.0]}, {"east": [2, -1.0]}, {"east": [1, "x"]}]
)
def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(record: object) -> None:
    with pytest.raises(InvalidData, match="what was spent is unknown"):
        Ledger.of(record)


@pytest.mark.parametrize(
    ("kind", "epsilon", "delta", "clip"),
    [
        ("global", 1, 1e-5, 1),
        ("central", 0, 1e-5, 1),
        ("central", math.nan, 1e-5, 1),
        ("central", 1, 1, 1),
        ("local", 1, 1e-5, 0),
    ],
)
def test_a_mechanism_of_nonsense_is_refused(kind: str, epsilon: float, delta: float, clip: float) -> None:
    with pytest.raises(InvalidParameter, match="give"):
        privacy.mechanism(kind, epsilon, delta, clip, 8)


def test_local_noise_hides_any_update_behind_any_other() -> None:
    assert mechanism("local").deviation == pytest.approx(2 * mechanism("central").deviation)


def test_an_update_is_shortened_and_never_lengthened() -> None:
    long = {"a": np.full((3, 4), 5, np.float32), "b": np.full(2, -7, np.float32)}
    cut = privacy.clipped(long, 1.0)
    assert 0.999 < privacy.length(cut) <= 1
    assert cut["a"][0, 0] / cut["b"][0] == pytest.approx(-5 / 7, rel=1e-6)
    short = {"a": np.full(4, 0.1, np.float32)}
    assert privacy.clipped(short, 1.0)["a"].tolist() == short["a"].tolist()
    assert privacy.clipped({"a": np.zeros(4, np.float32)}, 1.0)["a"].tolist() == [0] * 4


def test_an_update_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InvalidData, match="finite"):
        privacy.clipped({"a": np.array([1, np.nan], np.float32)}, 1.0)


def test_the_noise_has_the_deviation_asked_for_and_its_key_alone() -> None:
    zeros = {"a": np.zeros((200, 100), np.float32), "b": np.zeros(5000, np.float32)}
    noise = privacy.noised(zeros, 0.3, stream.derived(1))
    assert np.std(noise["a"]) == pytest.approx(0.3, rel=0.02)
    assert np.std(noise["b"]) == pytest.approx(0.3, rel=0.05)
    assert (privacy.noised(zeros, 0.3, stream.derived(1))["a"] == noise["a"]).all()
    assert np.corrcoef(privacy.noised(zeros, 0.3, stream.derived(2))["b"], noise["b"])[0, 1] < 0.1


def test_few_regions_are_told_that_noise_drowns_the_model() -> None:
    said = privacy.warning(Mechanism("central", 8, 1e-5, 1, 1.0), 10, 10_000)
    assert "with 10 regions a round" in said
    assert "10.0 times as long" in said
    assert "more regions" in said
    assert privacy.warning(Mechanism("central", 8, 1e-5, 1, 1.0), 1000, 10_000) == ""
    assert privacy.warning(Mechanism("local", 8, 1e-5, 1, 1.0), 1000, 10_000) != ""


def test_the_figures_say_what_was_spent_of_what() -> None:
    by = mechanism()
    told = privacy.figures(spend(Ledger(), 4, by), by)
    assert told["epsilon_budget"] == 8
    assert 0 < float(told["epsilon_spent"]) < 8
    assert told["private_rounds"] == 4
