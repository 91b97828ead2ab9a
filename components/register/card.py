"""The model card of a version: what it is for, how well it does and for whom, what it was made of, where it ends.

Sections follow Mitchell et al., Model cards for model reporting, 2019. Markdown is the source; the page is its HTML with plots.
"""

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from components.register.slices import Slice

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
Part = str | Table
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:60rem;color:#222}svg{max-width:100%}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
)


def parts(
    judged: Mapping[str, Any], chosen: str, lineage: Mapping[str, Any], slices: Sequence[Slice]
) -> dict[str, list[Part]]:
    """Return the sections of the card by title: paragraphs and tables of texts."""
    return {
        "What it does": [_purpose(judged, lineage)],
        "How well": [_measured(judged), _candidates(judged, chosen)],
        "For whom": [_spread(judged, chosen), _slices(slices)] if slices else [],
        "Where it ends": list(_limits(judged, chosen, slices)),
        "Where it comes from": [_origin(lineage)],
    }


def markdown(title: str, sections: Mapping[str, Sequence[Part]]) -> str:
    """Return the card as Markdown."""
    text = [f"# {title}"]
    for name, content in sections.items():
        if content:
            text += [f"## {name}", *(_markdown(part) for part in content)]
    return "\n\n".join(text) + "\n"


def page(title: str, sections: Mapping[str, Sequence[Part]], judged: Mapping[str, Any], slices: Sequence[Slice]) -> str:
    """Return the card as one HTML file with its plots inside."""
    plots = {"How well": _plot_candidates(judged), "For whom": _plot_slices(slices) if slices else ""}
    body = [
        f"<h2>{html.escape(name)}</h2>{''.join(map(_html, content))}{plots.get(name, '')}"
        for name, content in sections.items()
        if content
    ]
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"{head}<h1>{html.escape(title)}</h1>{''.join(body)}"


def _purpose(judged: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    about = lineage["model"]["metadata"]
    family = about.get("family", "unknown")
    if "horizon" not in judged:
        return f"A {judged.get('kind', '')} model of the family {family}, one ONNX graph."
    minutes = judged["horizon"] * judged["step_seconds"] // 60
    return (
        f"Forecasts {judged.get('target', '')} of a VM for up to {minutes} minutes, a value every "
        f"{judged['step_seconds']} s, from its last values. Family {family}, one ONNX graph."
    )


def _measured(judged: Mapping[str, Any]) -> str:
    counted = ", ".join(f"{judged[key]} {key}" for key in ("windows", "vms") if key in judged)
    return f"Judged on {counted or 'held-out data'} that no candidate has seen. MASE below 1: better than seasonal naive was."


def _candidates(judged: Mapping[str, Any], chosen: str) -> Table:
    measure = str(judged.get("measure", "mase"))
    ranked = sorted(
        judged["candidates"].items(),
        key=lambda item: item[1].get(measure) or 0.0,
        reverse=bool(judged.get("more_is_better")),
    )
    figures = (measure, "mae", "latency_ms_p99", "size_bytes", "memory_mb")
    shown = [key for key in figures if any(key in entry for _, entry in ranked)]
    rows = [
        [
            f"{name} (this one)" if name == chosen else name,
            str(entry.get("family", "")),
            *(_figure(entry.get(k)) for k in shown),
        ]
        for name, entry in ranked
    ]
    return ["candidate", "family", *shown], rows


def _spread(judged: Mapping[str, Any], chosen: str) -> str:
    worse = sorted(
        (
            (found["mase"], vm)
            for vm, found in judged["candidates"][chosen]["per_vm"].items()
            if found["mase"] is not None
        ),
        reverse=True,
    )
    named = ", ".join(f"{vm} ({mase:.2f})" for mase, vm in worse[:5])
    return f"Worst VMs by MASE: {named}."


def _slices(slices: Sequence[Slice]) -> Table:
    head = ["VMs", "number", "MASE", "of seasonal naive", "share worse than seasonal naive"]
    rows = [[s.name, str(s.vms), f"{s.mase:.3f}", f"{s.naive:.3f}", f"{s.worse:.0%}"] for s in slices]
    return head, rows


def _limits(judged: Mapping[str, Any], chosen: str, slices: Sequence[Slice]) -> list[str]:
    if "horizon" not in judged:
        return ["Not judged beyond the data it was tested on."]
    found = [
        "VMs that behave unlike those it was trained on are not covered; the monitor tells when traffic drifts from them.",
        "Forecasts are never negative, and say nothing of their own uncertainty beyond the confidence that serving reports.",
    ]
    everyone = next((s for s in slices if s.name == "all"), None)
    if everyone and everyone.worse > 0:
        found.append(f"For {everyone.worse:.0%} of the VMs seasonal naive was better on the held-out windows.")
    weak = [s for s in slices if s.mase > s.naive]
    found += [f"Worse than seasonal naive for: {', '.join(s.name for s in weak)}."] if weak else []
    return found


def _origin(lineage: Mapping[str, Any]) -> Table:
    data, features = lineage["data"], lineage["features"]
    rows = [
        ["run", lineage["run_id"] or "unknown"],
        ["data", f"{data['uri']} ({data['rows']} rows, SHA-256 {data['sha256'][:12]})"],
        ["feature service", features["service"] or "none"],
        ["covariates", ", ".join(features["covariates"]) or "none"],
        ["code commit", lineage["commit"] or "unknown (not run from a repository)"],
        ["code and environment", lineage["code_sha256"][:12]],
        ["image", lineage["image"]],
        ["hyperparameters", str(lineage["model"]["metadata"].get("hyperparameters") or "none")],
        ["champion before", lineage["champion_before"] or "none"],
    ]
    return ["what", "which"], rows


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return part
    head, rows = part
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    head, rows = part
    top = "".join(f"<th>{html.escape(cell)}" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{top}{body}</table>"


def _plot_candidates(judged: Mapping[str, Any]) -> str:
    measure = str(judged.get("measure", "mase"))
    known = {name: entry[measure] for name, entry in judged["candidates"].items() if _figure(entry.get(measure))}
    return _bars({measure: list(known.values())}, list(known))


def _plot_slices(slices: Sequence[Slice]) -> str:
    return _bars(
        {"MASE": [s.mase for s in slices], "seasonal naive": [s.naive for s in slices]}, [s.name for s in slices]
    )


def _bars(values: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 + 0.35 * len(names) * len(values)), layout="constrained")
    axes, width = figure.subplots(), 0.8 / len(values)
    for place, (label, drawn) in enumerate(values.items()):
        axes.barh(np.arange(len(names)) + place * width, drawn, width, label=label)
    axes.set_yticks(np.arange(len(names)) + (len(values) - 1) * width / 2, names)
    axes.invert_yaxis()
    axes.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
