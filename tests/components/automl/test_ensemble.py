import time
from types import SimpleNamespace

import numpy as np
import pytest

from components.automl import calibration, choice, ensemble
from components.automl.finish import spread
from components.automl.losses import LOSSES, auc_error, log_loss, rmse
from fleetml.learn.tables.assemble import Stacking, Weights


def answers(truth, sharpness, noise, seed):
    """Return probabilities [N, C] that lean towards the truth."""
    random = np.random.default_rng(seed)
    scores = sharpness * np.eye(int(truth.max()) + 1)[truth] + noise * random.normal(size=(len(truth), truth.max() + 1))
    raised = np.exp(scores)
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture
def truth():
    return np.random.default_rng(0).integers(0, 3, 600)


def test_members_that_err_apart_answer_together(truth):
    said = [answers(truth, 1.0, 1.0, seed) for seed in range(3)] + [answers(truth, 0.0, 3.0, 9)]
    weights = ensemble.greedy(said, truth, log_loss, 0)
    assert sum(weights.values) == pytest.approx(1)
    assert weights.values[3] < 0.05 < min(weights.values[:3])
    alone = min(log_loss(truth, one) for one in said)
    assert log_loss(truth, ensemble.combined(said, weights)) < 0.95 * alone


def test_after_the_deadline_the_best_one_answers_alone_and_nothing_is_joined(truth):
    asked = []

    def loss(told, said):
        asked.append(1)
        return log_loss(told, said)

    said = [answers(truth, 1.0, 1.0, seed) for seed in range(4)]
    weights = ensemble.greedy(said, truth, loss, 0, time.monotonic() - 1)
    assert sorted(weights.values) == [0, 0, 0, 1]
    assert len(asked) <= 2 * len(said)


def test_the_best_one_answers_alone_where_others_only_harm(truth):
    said = [answers(truth, 8.0, 0.5, 0), answers(truth, -3.0, 0.5, 1)]
    assert ensemble.greedy(said, truth, log_loss, 0).values == (1.0, 0.0)


def test_where_one_is_far_the_best_what_helps_it_joins_though_few_draws_have_both(truth):
    best, helper = answers(truth, 2.0, 1.5, 0), answers(truth, 1.5, 1.5, 1)
    said = [best, helper, *(answers(truth, 0.1, 1.0, seed) for seed in range(2, 8))]
    weights = ensemble.greedy(said, truth, log_loss, 0)
    assert weights.values[0] > weights.values[1] > 0
    assert log_loss(truth, ensemble.combined(said, weights)) < 0.99 * log_loss(truth, best)


def test_a_stacked_layer_learns_what_weights_cannot_say(truth):
    turned = answers((truth + 1) % 3, 2.0, 0.5, 0)  # right, but for the names of the classes
    plain = ensemble.nested([turned], truth, log_loss, 0, layer=False)
    layer = ensemble.nested([turned], truth, log_loss, 0, layer=True)
    assert log_loss(truth, layer) < 0.5 < log_loss(truth, plain)


@pytest.mark.parametrize("classes", [2, 3])
def test_each_part_leaves_rows_of_a_class_of_two_to_fit_the_layer_to(classes):
    truth = np.arange(102) % (classes - 1)
    truth[[10, 57]] = classes - 1
    said = [answers(truth, 2.0, 1.0, seed) for seed in range(2)]
    assert ensemble.layered(truth, classes)
    for seed in range(8):  # dealt at random, both rows lie in one part of every fifth
        assert 0 < log_loss(truth, ensemble.nested(said, truth, log_loss, seed, layer=True)) < 1
    truth[57] = 0
    assert not ensemble.layered(truth, classes)


def test_a_stacked_layer_of_two_classes_says_the_probability_of_both():
    truth = np.random.default_rng(1).integers(0, 2, 400)
    said = [answers(truth, 1.5, 1.0, seed) for seed in range(2)]
    together = ensemble.combined(said, ensemble.stack(said, truth))
    assert together.sum(axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert ((together[:, 1] > 0.5) == truth).mean() > 0.8


def test_a_bag_shares_the_weight_of_its_trial(truth):
    one, other = answers(truth, 1.0, 1.0, 0), answers(truth, 1.0, 1.0, 1)
    assert spread(Weights((0.75, 0.25)), [[1 / 3] * 3, [1.0]]).values == pytest.approx((0.25, 0.25, 0.25, 0.25))
    layer = ensemble.stack([one, other], truth)
    bagged = spread(layer, [[0.5, 0.5], [1.0]])
    assert isinstance(bagged, Stacking)
    given = [each.astype(np.float32) for each in (one, one, other)]
    assert bagged.combine(given) == pytest.approx(ensemble.combined([one, other], layer), abs=1e-5)


def test_a_temperature_is_kept_only_where_it_lowers_the_log_loss(truth):
    sharp = answers(truth, 3.0, 3.0, 0)
    degree = calibration.temperature(sharp, truth)
    assert degree > 1.5
    assert log_loss(truth, calibration.scaled(sharp, degree)) < log_loss(truth, sharp)
    assert (calibration.scaled(sharp, degree).argmax(axis=1) == sharp.argmax(axis=1)).all()
    assert calibration.temperature(calibration.scaled(sharp, degree), truth) == 1.0


def test_the_calibration_error_is_how_far_confidence_is_from_what_was_right():
    said = np.tile([0.9, 0.1], (10, 1))
    assert calibration.expected_error(said, np.array([0] * 9 + [1])) == pytest.approx(0.0)
    assert calibration.expected_error(said, np.array([0] * 4 + [1] * 6)) == pytest.approx(0.5)


def test_losses_are_those_of_the_metrics():
    from sklearn import metrics

    truth = np.random.default_rng(2).integers(0, 3, 200)
    said = answers(truth, 1.0, 1.0, 3)
    assert LOSSES["log_loss"](truth, said) == pytest.approx(metrics.log_loss(truth, said))
    assert auc_error(truth, said) == pytest.approx(1 - metrics.roc_auc_score(truth, said, multi_class="ovr"))
    two = answers(truth % 2, 1.0, 1.0, 3)
    assert auc_error(truth % 2, two) == pytest.approx(1 - metrics.roc_auc_score(truth % 2, two[:, 1]))
    assert LOSSES["accuracy"](truth, said) == pytest.approx(1 - metrics.accuracy_score(truth, said.argmax(axis=1)))
    assert LOSSES["f1"](truth, said) == pytest.approx(1 - metrics.f1_score(truth, said.argmax(axis=1), average="macro"))
    values = np.random.default_rng(4).normal(size=50)
    assert rmse(values, np.zeros((50, 1))) == pytest.approx(np.sqrt((values**2).mean()))
    assert LOSSES["mae"](values, np.zeros((50, 1))) == pytest.approx(np.abs(values).mean())


def test_one_class_alone_has_no_order_of_pairs_and_is_judged_by_its_log_loss():
    said = np.tile([0.8, 0.2], (5, 1))
    assert auc_error(np.zeros(5, int), said) == pytest.approx(log_loss(np.zeros(5, int), said))


def test_values_are_weighed_by_least_squares():
    truth = np.random.default_rng(5).normal(size=300)
    said = [truth[:, None] + np.random.default_rng(seed).normal(size=(300, 1)) for seed in range(3)] + [-truth[:, None]]
    weights = ensemble.fitted(said, truth)
    assert weights.values[3] == 0
    assert sum(weights.values) == pytest.approx(1)
    assert rmse(truth, ensemble.combined(said, weights)) < 0.7
    assert sum(ensemble.least_squares([-truth[:, None]], truth).values) == 1


def test_what_is_told_of_a_choice_that_ran_out_of_time_is_of_what_answers(monkeypatch):
    values = np.random.default_rng(0).normal(size=200)
    said = [(values + error)[:, None] for error in (1.0, -1.0)]
    found = {number: SimpleNamespace(said=each, algorithm="linear") for number, each in enumerate(said)}
    problem = SimpleNamespace(target=values, loss=rmse, seed=0, classes=1, classifies=False)
    monkeypatch.setattr(choice, "time", SimpleNamespace(monotonic=lambda: 1e18))
    monkeypatch.setattr(ensemble, "nested", lambda *given, **more: said[0])  # as far as it came: one of them
    kept, chosen = choice.choose(problem, found, time.monotonic() + 60)
    assert kept == [0, 1]
    assert chosen.loss < 0.1
