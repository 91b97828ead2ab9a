"""The page of a search: whatever names and numbers a table has, in light and in dark."""

from __future__ import annotations

import re

from components.automl import page

CARD = {"target": "y", "algorithm": "ensemble", "metric": "log_loss", "score": 0.4, "reason": "", "notes": []}
CARD |= {"validation": "stratified, 5 folds", "families": ["linear", "net"], "budget_met": True}
NAMES = ("name", "log_loss", "state", "seconds", "weight", "finished_as", "reason", "hyperparameters")


def drawn(found: str) -> str:
    return re.sub(r"<[^>]+>", "", found)


def test_an_empty_search_says_so_and_has_no_empty_headings() -> None:
    found = page.render(CARD, [dict.fromkeys(NAMES)], [], {})
    assert "No trial was finished." in found
    assert "No time was left to ask." in found
    assert "color-scheme:light dark" in found


def test_what_there_was_no_time_to_ask_is_named_and_an_empty_reason_is_no_row() -> None:
    found = page.render(CARD, [dict.fromkeys(NAMES)], [], {"permutation": {}, "shapley": {"a": 0.5}})
    assert "(rows the model has seen): no time was left to ask." in found
    assert found.count("no time was left to ask") == 1
    assert "<tr><th>reason<td>" not in found


def test_long_names_are_cut_and_no_name_is_taken_for_a_formula() -> None:
    names = {"x" * 200: 0.5, "$a_1$ or $b_2$": 0.2, "b<script>": 0.1}
    found = page.render(CARD, [dict.fromkeys(NAMES)], [(1.0, 0.5)], {"permutation": names})
    said = [part for part in re.findall(r"<!-- (.*?) -->", found) if part]
    assert f"{'x' * 39}…" in said
    assert "$a_1$ or $b_2$" in said
    assert "<script>" not in re.sub(r"<!--.*?-->", "", found)


def test_names_of_one_beginning_have_a_bar_each() -> None:
    names = {f"{'a' * 60}{at}": 0.1 for at in range(3)}
    found = page.render(CARD, [dict.fromkeys(NAMES)], [], {"shapley": names})
    assert found.count(f"<!-- {'a' * 39}… -->") == 3
