"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.cost import estimate as cost
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.redaction import mapped, without_passwords
from fleetml.report import text
from fleetml.report.verdict import BASELINES, Verdict, artifact, read

FILE = "report.html"
_UNITS = {
    "bandwidth": "kB/s",
    "network_io": "kB/s",
    "disk_io": "kB/s",
    "cpu": "% CPU",
    "cpu_usage": "% CPU",
    "memory_usage": "% memory",
    "latency": "ms",
    "error_rate": "1/s",
}


Links = tuple[tuple[str, str], ...]
"""Where a person goes on: names and addresses."""


def write(run: Run, links: Links = ()) -> Path:
    """Write the report into the run's folder and return its place; a run that goes on gets what is known so far.

    Raises ConfigurationError for an unknown run.
    """
    place = run.folder / FILE
    atomic.write_text(place, render(run, links))
    return place


def render(run: Run, links: Links = ()) -> str:
    """Return the report as HTML."""
    import jinja2

    pages = jinja2.Environment(loader=jinja2.PackageLoader("fleetml.report", "."), autoescape=True)
    pages.filters.update(
        cost=cost.read,
        figure=text.figure,
        figures=text.figures,
        money=text.money,
        seconds=text.seconds,
        size=text.size,
        share=text.share,
        clock=_clock,
    )
    document, attempts = mapped(run.read(), without_passwords), run.here()
    labels = _labels(run, document)
    verdict = read(attempts)
    spent = {step: _spent(run, step) for step in attempts}
    return pages.get_template("report.html.j2").render(
        run=document,
        steps=[(labels.get(step, step), attempts.get(step), step) for step in document.get("steps", [])],
        spent=spent,
        verdict=verdict,
        plots=_plots(document, attempts, labels, verdict, spent),
        lineage=_lineage(attempts, labels),
        pages=[*links, *_html_artifacts(attempts, labels)],
        baselines=BASELINES,
        unit=_UNITS.get(verdict.target, "") if verdict else "",
    )


def _spent(run: Run, step: str) -> cost.Cost:
    """Return what all attempts of a step cost."""
    return cost.read(cost.total(attempt.cost for attempt in run.attempts(step) if attempt.cost))


def _plots(
    document: Mapping[str, Any],
    attempts: Mapping[str, Attempt],
    labels: Mapping[str, str],
    verdict: Verdict | None,
    spent: Mapping[str, cost.Cost],
) -> dict[str, str]:
    from fleetml.report import charts

    began = float(document.get("started", 0.0))
    rows = [
        (labels.get(step, step), "cached" if a.cached else a.state, a.started - began, a.started - began + a.seconds)
        for step, a in attempts.items()
        if a.state not in ("skipped", "upstream_failed")
    ]
    made = {"gantt": charts.gantt(rows)} if rows else {}
    made["costs"] = charts.costs([(labels.get(step, step), cost) for step, cost in spent.items()])
    if verdict and (champion := verdict.champion):
        made["errors"] = charts.errors(verdict.candidates, champion.name)
        rivals = [c for name in BASELINES if (c := verdict.get(name)) and c.name != champion.name]
        made["per_vm"] = "".join(charts.per_vm(champion, rival) for rival in rivals)
        made["forecasts"] = _forecasts(attempts, verdict)
    elif verdict:
        made["errors"] = charts.errors(verdict.candidates, "")
    return made


def _forecasts(attempts: Mapping[str, Attempt], verdict: Verdict) -> str:
    """Draw examples; without the artifacts (results were cleaned up) the report does without."""
    from fleetml.report import charts, examples

    test = artifact(attempts, "features", "test")
    model = artifact(attempts, "gate", "model") if verdict.promoted else artifact(attempts, "champion", "model")
    champion = verdict.champion
    if not (test and model and champion and Path(test["uri"]).exists() and Path(model["uri"]).exists()):
        return ""
    shown = examples.read(Path(test["uri"]), Path(model["uri"]), examples.choose(champion.mase_of_vm))
    return charts.forecasts(shown, _UNITS.get(verdict.target, verdict.target)) if shown else ""


def _labels(run: Run, document: Mapping[str, Any]) -> dict[str, str]:
    steps = load(run.pipeline).steps if run.pipeline.is_file() else {}
    return {name: steps[name].label if name in steps else name for name in document.get("steps", [])}


def _lineage(attempts: Mapping[str, Attempt], labels: Mapping[str, str]) -> list[dict[str, str]]:
    """Return every artifact with its content's digest and the digest of the code that made it."""
    found = []
    for step, attempt in attempts.items():
        for output, items in ((attempt.outcome or {}).get("artifacts") or {}).items():
            for item in items:
                found.append(
                    {
                        "step": labels.get(step, step),
                        "output": output,
                        "digest": str(item.get("digest", ""))[:12],
                        "code": str((attempt.parts or {}).get("code", ""))[:12],
                        "uri": str(item.get("uri", "")),
                    }
                )
    return found


def _html_artifacts(attempts: Mapping[str, Attempt], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (f"{labels.get(step, step)}: {output}", Path(item["uri"]).as_uri())
        for step, attempt in attempts.items()
        for output, items in ((attempt.outcome or {}).get("artifacts") or {}).items()
        for item in items
        if item.get("type") == "system.HTML" and Path(item["uri"]).is_file()
    ]


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else "not yet"
