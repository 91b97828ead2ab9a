"""The page of a study: its history, what mattered, slices, the front. One HTML file, drawings inside."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.atomic import write_text
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fleetml.learn.study.loop import StudyResult
    from fleetml.learn.study.space import Space

Meant = Callable[[Mapping[str, Any]], Mapping[str, Any]]
_BEST, _ONE, _BAD = "#2563a8", "#9dbbd8", "#c2513a"
# Slices of this many parameters are drawn, the most important first
_SLICES = 8
_STYLE = "body{font-family:sans-serif;color:#20262d;max-width:64em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}table{border-collapse:collapse;font-size:.9em}tr:nth-child(even){background:#f2f4f6}svg{max-width:100%;height:auto}"


def write(
    path: Path,
    title: str,
    result: StudyResult,
    space: Space,
    settings: StudySettings,
    objectives: Sequence[str],
    meant: Meant = dict,
) -> None:
    """Write the page. A study without a complete trial has its table and the reasons alone.

    `objectives`: their names, with units. `meant` returns the hyperparameters that a trial's parameters mean, where they are
    places in the ranges of a family.
    """
    complete = [each for each in result.outcomes if each.values]
    parts = [_summary(result, settings, meant)]
    if complete:
        weights = importance(complete, space, settings)
        parts += ["<h2>History</h2>", _history(result.outcomes, settings, objectives[0])]
        parts += _important(weights)
        parts += ["<h2>Slices</h2>", _slices(complete, list(weights)[:_SLICES] or list(space)[:_SLICES], meant)]
    if len(settings.directions) > 1 and result.front:
        parts += ["<h2>Pareto front</h2>", _front(complete, result.front, objectives)]
    parts += ["<h2>Trials</h2>", _table(result.outcomes, meant)]
    head = f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    write_text(path, f"{head}<h1>{escape(title)}</h1>{''.join(parts)}")


def importance(complete: Sequence[Outcome], space: Space, settings: StudySettings) -> dict[str, float]:
    """Return the share of each parameter in what makes a good trial good, the largest first (PED-ANOVA, Watanabe 2023).

    Of the parameters that every trial has; empty where there are too few trials, or all are alike.
    """
    import optuna

    from fleetml.learn.study.space import distributions

    known = distributions(space)
    names = [name for name in known if all(name in each.params for each in complete) and not known[name].single()]
    if not names or len({each.value for each in complete}) < 4:
        return {}
    study = optuna.create_study(direction=optuna.study.StudyDirection[settings.directions[0].upper()])
    kinds = {name: known[name] for name in names}
    for each in complete:
        params = {name: each.params[name] for name in names}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=each.value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _summary(result: StudyResult, settings: StudySettings, meant: Meant) -> str:
    states = [each.state for each in result.outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    said = f"<p>{len(states)} trials ({counts}) in {result.seconds:.1f} s by the sampler {settings.sampler}; the study ended: {escape(result.reason_to_stop)}.</p>"
    best = result.best
    if best is None:
        return said + "<p>No trial is complete and feasible.</p>"
    values = ", ".join(f"{value:.6g}" for value in best.values)
    return said + f"<p>Best: {values}, trial {best.number}: {escape(_told(meant(best.params)))}</p>"


def _history(outcomes: Sequence[Outcome], settings: StudySettings, objective: str) -> str:
    good = [each for each in outcomes if each.values and not each.violation]
    bad = [each for each in outcomes if each.values and each.violation]
    better = min if settings.directions[0] == "minimize" else max
    best = [better(other.value for other in good[: at + 1]) for at in range(len(good))]

    def draw(axes: Sequence[Axes]) -> None:
        axes[0].plot([each.number for each in good], [each.value for each in good], "o", color=_ONE, label="feasible")
        if bad:
            axes[0].plot(
                [each.number for each in bad], [each.value for each in bad], "x", color=_BAD, label="infeasible"
            )
        axes[0].step([each.number for each in good], best, where="post", color=_BEST, label="best so far")
        axes[0].set_xlabel("trial")
        axes[0].set_ylabel(objective)
        axes[0].legend(frameon=False)

    return _drawn(draw, 1, 9.6, 3.2)


def _important(weights: Mapping[str, float]) -> list[str]:
    if not weights:
        return []

    def draw(axes: Sequence[Axes]) -> None:
        axes[0].barh(list(weights)[::-1], list(weights.values())[::-1], color=_BEST)
        axes[0].set_xlabel("share (PED-ANOVA)")

    return ["<h2>Importance</h2>", _drawn(draw, 1, 9.6, 0.35 * len(weights) + 0.9)]


def _slices(complete: Sequence[Outcome], names: Sequence[str], meant: Meant) -> str:
    """Draw the first objective over each parameter, by the values that a family means where it has one of that name."""

    def draw(axes: Sequence[Axes]) -> None:
        for each, name in zip(axes, names, strict=True):
            points = [(meant(outcome.params), outcome.value) for outcome in complete]
            if not any(name in params for params, _ in points):
                points = [(outcome.params, outcome.value) for outcome in complete]
            having = [(params[name], value) for params, value in points if name in params]
            values = [place for place, _ in having]
            numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            each.plot(values if numeric else list(map(str, values)), [value for _, value in having], ".", color=_BEST)
            if numeric and values and min(values) > 0 and max(values) > 100 * min(values):
                each.set_xscale("log")
            each.set_xlabel(name)

    return _drawn(draw, len(names), 2.6 * min(len(names), 4), 2.4 * ((len(names) + 3) // 4))


def _front(complete: Sequence[Outcome], front: Sequence[Outcome], objectives: Sequence[str]) -> str:
    def draw(axes: Sequence[Axes]) -> None:
        for outcomes, colour, name in ((complete, _ONE, "trials"), (front, _BEST, "front")):
            axes[0].plot(
                [o.values[0] for o in outcomes], [o.values[1] for o in outcomes], "o", color=colour, label=name
            )
        axes[0].set_xlabel(objectives[0])
        axes[0].set_ylabel(objectives[1])
        axes[0].legend(frameon=False)

    return _drawn(draw, 1, 6.0, 4.0)


def _drawn(draw: Any, count: int, width: float, height: float) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "fleetml", "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        columns = min(count, 4)
        grid = figure.subplots((count + columns - 1) // columns, columns, squeeze=False).ravel()
        for spare in grid[count:]:
            spare.remove()
        draw(list(grid[:count]))
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = sink.getvalue()
    return drawing[drawing.index("<svg") :]


def _table(outcomes: Sequence[Outcome], meant: Meant) -> str:
    head = "<tr><th>trial<th>state<th>values<th>seconds<th>parameters<th>reason</tr>"
    rows = (
        f"<tr><td>{each.number}<td>{each.state}{' (infeasible)' if each.violation else ''}<td>{', '.join(f'{v:.6g}' for v in each.values)}"
        f"<td>{each.seconds:.2f}<td>{escape(_told(meant(each.params)))}<td>{escape(each.reason)}</tr>"
        for each in outcomes
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _told(params: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )
