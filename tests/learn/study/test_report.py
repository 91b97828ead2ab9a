from optuna.distributions import CategoricalDistribution, FloatDistribution

from fleetml.learn.study import report
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings

SPACE = {
    "x": FloatDistribution(1e-4, 1.0, log=True),
    "y": FloatDistribution(0.0, 1.0),
    "<kind>": CategoricalDistribution(["a", "b"]),
}


def page(tmp_path, objective, meant=dict, **settings):
    settings = StudySettings(12, sampler="random", seed=1, **settings)
    result = run(objective, SPACE, settings)
    report.write(tmp_path / "page.html", "Trees & nets", result, SPACE, settings, ("MASE", "latency [ms]"), meant)
    return (tmp_path / "page.html").read_text(), result


def test_a_page_tells_history_importance_slices_and_every_trial(tmp_path):
    def objective(trial):
        trial.constrain("y", trial.params["y"] - 0.9)
        if trial.number == 3:
            raise ValueError("a <bad> point")
        return trial.params["x"]

    text, result = page(tmp_path, objective)
    assert "<h1>Trees &amp; nets</h1>" in text
    for part in ("History", "Importance", "Slices", "Trials"):
        assert f"<h2>{part}</h2>" in text
    assert "ValueError: a &lt;bad&gt; point" in text
    assert "<bad>" not in text
    assert text.count("<tr><td>") == 12
    assert f"Best: {result.best.value:.6g}, trial {result.best.number}" in text
    complete = [each for each in result.outcomes if each.values]
    weights = report.importance(complete, SPACE, StudySettings(12))
    assert next(iter(weights)) == "x"
    assert "Pareto" not in text


def test_two_objectives_have_their_front(tmp_path):
    text, _ = page(tmp_path, lambda trial: (trial.params["x"], -trial.params["x"]), directions=("minimize", "minimize"))
    assert "<h2>Pareto front</h2>" in text
    assert ">MASE</text>" in text
    assert ">latency [ms]</text>" in text
    assert "objective" not in text


def test_places_are_told_as_what_they_mean(tmp_path):
    text, result = page(tmp_path, lambda trial: trial.params["x"], lambda params: {"width": round(64 * params["y"])})
    best = f"width {round(64 * result.best.params['y'])}</p>"
    assert f"trial {result.best.number}: {best}" in text
    assert text.count("<td>width ") == 12
    assert "<td>x " not in text


def test_a_study_without_a_good_trial_has_its_reasons(tmp_path):
    text, _ = page(tmp_path, lambda trial: float("nan"))
    assert "No trial is complete and feasible." in text
    assert "12 nan" in text
    assert "<svg" not in text


def test_the_same_study_gives_the_same_page_but_for_its_seconds(tmp_path):
    import re

    pages = [
        re.sub(r"[\d.]+ s by|<td>[\d.]+<td>(?=x )", "", page(tmp_path, lambda t: t.params["x"])[0]) for _ in range(2)
    ]
    assert pages[0] == pages[1]
