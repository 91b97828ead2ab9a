import numpy as np
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import flat_space
from fleetml.learn.architectures import TABLE_FAMILIES
from fleetml.learn.forecaster import session
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.table_net import Shape, TableNet


def table(classifies, count=400, seed=0):
    """Rows of very different scales, one feature constant; the target is no line through them."""
    random = np.random.default_rng(seed)
    rows = (random.normal(size=(count, 5)) * [1, 1e3, 1e-3, 0, 5] + [0, 1e4, 0, 7, 0]).astype(np.float32)
    bent = np.abs(rows[:, 0]) + rows[:, 1] / 1e3 - 10 > 0.8
    return rows, bent.astype(np.int64) if classifies else (np.abs(rows[:, 0]) - 0.8).astype(np.float32)


def said_by(net, rows):
    runner = session(net.graph().SerializeToString())
    return runner.run(None, {"rows": rows})[-1]


@pytest.mark.parametrize("block", TABLE_FAMILIES)
@pytest.mark.parametrize("classifies", [True, False])
def test_it_learns_what_no_line_says_and_its_graph_says_the_same(block, classifies):
    rows, target = table(classifies)
    net = TableNet(Shape(block, width=32, epochs=30), classifies).fit(
        rows[:300], target[:300], rows[300:], target[300:]
    )
    fresh, wanted = table(classifies, seed=1)
    said = net.predict(fresh)
    if classifies:
        assert (said == wanted).mean() > 0.85
        assert net.predict_proba(fresh).sum(axis=1) == pytest.approx(1, abs=1e-5)
    else:
        assert np.mean((said - wanted) ** 2) < 0.2 * wanted.var()
    strange = np.concatenate([fresh, np.full((1, 5), 1e30, np.float32), np.full((1, 5), -1e30, np.float32)])
    for given in (strange, fresh[:1]):
        expected = net.predict_proba(given) if classifies else net.predict(given)[:, None]
        assert np.isfinite(expected).all()
        assert said_by(net, given) == pytest.approx(expected, abs=1e-4)


def test_the_same_seed_gives_the_same_graph():
    rows, target = table(True, 100)
    made = [TableNet(Shape(width=16, epochs=2), True, seed).fit(rows, target) for seed in (0, 0, 1)]
    first, again, other = (net.graph().SerializeToString() for net in made)
    assert first == again != other


def test_early_stopping_keeps_the_best_epoch():
    rows, target = table(True, 60)
    noise = np.random.default_rng(3).permutation(target)
    held, wanted = table(True, 60, seed=1)
    net = TableNet(Shape(width=64, epochs=40, dropout=0.0, patience=3), True).fit(rows, noise, held, wanted)
    assert net.epochs < 20, "what is learnt of noise makes held rows worse"
    assert TableNet(Shape(width=16, epochs=3), True).fit(rows, target).epochs == 3


@pytest.mark.parametrize("steps", [1, 9, 10, 11])
def test_a_training_of_few_steps_ends(steps):
    rows, target = table(classifies=False, count=20)
    net = TableNet(Shape("mlp", width=16, epochs=steps), classifies=False)
    before = net.fit(rows, target).predict(rows)
    assert np.isfinite(before).all()
    assert before.std() > 0


def test_an_unknown_block_is_refused():
    with pytest.raises(InvalidParameter, match="block of a network must be one of mlp, resnet, gated, got 'gru'"):
        Shape("gru")


def test_an_architecture_search_goes_over_table_networks():
    rows, target = table(True, 120)
    held, wanted = table(True, 120, seed=1)

    def objective(trial):
        block, chosen = flat_space.point(trial.params, TABLE_FAMILIES)
        net = TableNet(Shape(block, epochs=4, **chosen), True).fit(rows, target, held, wanted)
        return float((net.predict(held) != wanted).mean())

    settings = StudySettings(trials=5, sampler="evolution")
    found = run(objective, flat_space.flat(TABLE_FAMILIES), settings, flat_space.starts(TABLE_FAMILIES))
    assert [each.state for each in found.outcomes] == ["complete"] * 5
    assert found.best is not None
    assert found.best.value < 0.4
