"""The page of a federated run: its rounds, how fair the model is to each region, privacy, and what passed between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from components.federated.configuration import Federation
from fleetml.atomic import write_text

if TYPE_CHECKING:
    from components.federated.protection import Protection
    from components.federated.rounds import Result

_STYLE = (
    "body{font-family:sans-serif;color:#20262d;max-width:64em;margin:2em auto;padding:0 1em}.wide{overflow-x:auto}"
    "td,th{padding:.2em .8em;text-align:left;vertical-align:top}td.n,th.n{text-align:right}td.n,th,td:first-child{white-space:nowrap}"
    "table{border-collapse:collapse;font-size:.9em}tr:nth-child(even){background:#f2f4f6}.soft{color:#59626c}"
)
_WORDS = {"", "region", "left out", "way", "message", "record", "name", "type", "shape"}
"""Columns that hold words; all others hold numbers."""
_ENDED = {"rounds": "all were made", "converged": "the error converged", "budget": "the privacy budget is spent"}
_MODELS = {"common": "the common model", "personal": "fitted to the region", "own": "the region alone"}


def write(
    path: Path, federation: Federation, result: Result, mase: float, central: float, protected: Protection
) -> None:
    """Write the page; `mase` and `central` are errors on all validation windows, NaN: not measured."""
    said = f"{len(result.history)} of {federation.rounds} rounds ({_ENDED.get(result.ended, result.ended)}), strategy {federation.strategy}, validation MASE {_figure(mase)}"
    said += f", trained centrally {_figure(central)}" if math.isfinite(central) else ""
    parts = [
        f"<p>{escape(said)}</p>",
        "<h2>Fairness</h2>",
        _note("Errors (MASE) on each region's own held-out windows; spread: their standard deviation."),
    ]
    parts += [
        fairness(result),
        "<h2>Rounds</h2>",
        _note("Error of the model as each round began, loss of its training; means over the regions that took part."),
        rounds(result),
    ]
    parts += ["<h2>Privacy</h2>", private(result, protected), "<h2>What passed</h2>"]
    parts += [
        _note("All that left the regions, then all that came to them: how often, and bytes in all."),
        passed(protected),
    ]
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head += f"<title>Federated rounds</title><style>{_STYLE}</style>"
    write_text(path, f"{head}<h1>Federated rounds</h1>{''.join(parts)}")


def private(result: Result, protected: Protection) -> str:
    """Return what privacy was spent, and what the figures do not cover."""
    spent = protected.figures(result.ledger)
    if not spent:
        return "<p>None was asked for: updates are neither clipped nor noised.</p>"
    rows = [[name.replace("_", " "), str(value)] for name, value in spent.items()]
    said = "Epsilon is of the model and what is made of it. Errors, losses and numbers of examples told here have no noise."
    said += " The noise comes from the seed of the run: whoever knows it can take it off." * protected.seeded
    return _table(["", ""], rows) + f"<p>{escape(said)}</p><p>{escape(protected.warning)}</p>"


def passed(protected: Protection) -> str:
    """Return a table of all that left the regions and came to them: nothing else did."""
    names = ["way", "message", "record", "name", "type", "shape", "count", "bytes"]
    shown = sorted(protected.listing.table(), key=lambda row: row["way"] != "leaves")
    rows = [
        [
            *(str(row[name]) for name in names[:5]),
            "x".join(map(str, row["shape"])),
            f"{row['count']:,}",
            f"{row['bytes']:,}",
        ]
        for row in shown
    ]
    return _table(names, rows)


def fairness(result: Result) -> str:
    """Return a table of each region's error by each model, with the worst and the spread (standard deviation) below."""
    models = [name for name in _MODELS if any(name in each for each in result.errors.values())]
    rows = [
        [name, f"{each.get('weight', math.nan):,.0f}", *(_figure(each.get(model, math.nan)) for model in models)]
        for name, each in result.errors.items()
    ]
    for label, measure in (("worst", max), ("spread", _spread)):
        columns = [[each[model] for each in result.errors.values() if model in each] for model in models]
        rows.append(
            [
                label,
                "",
                *(_figure(measure([it for it in column if math.isfinite(it)] or [math.nan])) for column in columns),
            ]
        )
    return _table(["region", "examples", *(_MODELS[name] for name in models)], rows)


def rounds(result: Result) -> str:
    """Return a table of the rounds."""
    rows = [
        [
            str(each.number),
            _figure(each.error),
            _figure(each.loss),
            str(len(each.answered)),
            "; ".join(f"{name} {why}" for name, why in each.left_out.items()),
            f"{each.sent_bytes:,}",
            f"{each.received_bytes:,}",
            f"{each.seconds:.1f}",
        ]
        for each in result.history
    ]
    names = ["round", "error before it", "loss", "regions", "left out", "bytes sent", "bytes received", "seconds"]
    return _table(names, rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    kinds = ["" if name in _WORDS else " class='n'" for name in names]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, names, strict=True))
    lines = ("".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    return f"<div class='wide'><table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def _note(said: str) -> str:
    return f"<p class='soft'>{escape(said)}</p>"


def _spread(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def _figure(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"
