"""The page of a search over tables: the model's card, its learning curve, what it depends on, every trial."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawings are black on white: on a dark page they keep a white ground
_STYLE = (
    ":root{color-scheme:light dark}body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;"
    "color:light-dark(#222,#ddd);background:light-dark(#fff,#16181b)}h1,h2,td,th,p{overflow-wrap:anywhere}"
    "table{border-collapse:collapse}td,th{padding:.25rem .7rem;border-bottom:1px solid light-dark(#ddd,#444);text-align:left;"
    "vertical-align:top}th{overflow-wrap:normal}.wide{overflow-x:auto}.wide td{min-width:4.5rem;overflow-wrap:break-word}"
    "svg{max-width:100%;height:auto;background:#fff}.warn{background:light-dark(#fdf3d8,#453a17);padding:.6rem 1rem}"
)
_COLUMNS = ("name", "state", "seconds", "weight", "finished_as", "reason", "hyperparameters")
MOST_BARS, MOST_LETTERS = 25, 40


def render(
    card: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    curve: Sequence[tuple[float, float]],
    explained: Mapping[str, Mapping[str, float]],
) -> str:
    """Return the page, one HTML file with its drawings inside."""
    warnings = [*([card["reason"]] if card["reason"] else []), *card["notes"]]
    warned = f"<p class=warn>{'<br>'.join(map(html.escape, warnings))}</p>" if warnings else ""
    facts = "".join(
        f"<tr><th>{_words(name)}<td>{_shown(value)}"
        for name, value in card.items()
        if name not in ("curve", "notes") and value != ""
    )
    drawn = "".join(_asked(explained[name], title) for name, title in _TITLES.items() if name in explained)
    line = _svg(_line(curve, card["metric"])) if curve else "<p>No trial was finished."
    drawn = drawn or "<p>No time was left to ask."
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{html.escape(card['target'])}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(card['target'])}: {html.escape(card['algorithm'])}, {card['metric']} {card['score']}</h1>{warned}"
        f"<h2>Card</h2><table>{facts}</table><h2>Learning curve</h2>{line}<h2>What it depends on</h2>{drawn}"
        f"<h2>{len(rows)} rows of the leaderboard, judged by {html.escape(card['validation'])}</h2>{_table(rows, card['metric'])}"
    )


_PERMUTATION = "Rise of the loss when a column's values are dealt out anew (rows the model has seen)"
_FORECASTS = "Rise of the MASE when a part of the input is that of another time of the same VM (validation windows)"
_SHAPLEY = "Mean absolute Shapley value, by sampling"
_TITLES = {"permutation": _PERMUTATION, "forecasts": _FORECASTS, "shapley": _SHAPLEY}


def _asked(values: Mapping[str, float], title: str) -> str:
    return _svg(_bars(values, title)) if values else f"<p>{html.escape(title)}: no time was left to ask."


def _table(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    names = ("name", metric, *_COLUMNS[1:])
    head = "".join(f"<th>{_words(name)}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_shown(row[name])}" for name in names) for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _words(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    return html.escape(", ".join(value) if isinstance(value, list) else "" if value is None else str(value))


def _line(curve: Sequence[tuple[float, float]], metric: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.step([second for second, _ in curve], [score for _, score in curve], where="post", marker=".")
    axes.set(xlabel="seconds", ylabel=metric, title="The best single model by then")
    return figure


def _bars(values: Mapping[str, float], title: str) -> "Figure":
    from matplotlib.figure import Figure

    shown = list(values.items())[:MOST_BARS][::-1]
    figure = Figure(figsize=(8, 0.6 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(shown)), [value for _, value in shown], color="#4a7aa7")
    names = [name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…" for name, _ in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    figure.suptitle(title, fontsize=10)
    return figure


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().partition("?>")[2]
