"""The end of ``fleetml train``: what was won, beside what, at what cost, and where to go on."""

from collections.abc import Iterator, Mapping
from typing import Any

from fleetml.records import Attempt
from fleetml.report import text
from fleetml.report.verdict import BASELINES, Candidate, Verdict, read

Line = tuple[str, str]
"""A caption (may be empty) and what stands beside it."""


def lines(document: Mapping[str, Any], attempts: Mapping[str, Attempt], labels: Mapping[str, str]) -> Iterator[Line]:
    """Yield the summary of a run: verdict, errors, size, latency, reuse, cost."""
    verdict = read(attempts)
    if verdict:
        yield from _verdict(verdict)
    yield "reused", reused(attempts, labels)
    yield "cost", text.cost(document.get("cost"))


def _verdict(verdict: Verdict) -> Iterator[Line]:
    champion = verdict.champion
    if champion is None:
        yield "champion", f"none of '{verdict.target}': {verdict.reason or 'nothing was promoted'}"
        return
    yield "champion", headline(verdict, champion)
    yield "error", f"{_errors(champion)}, over {verdict.windows} held-out windows of {verdict.vms} VMs"
    for name in BASELINES:
        if (baseline := verdict.get(name)) and name != champion.name:
            yield name.replace("_", " "), f"{_errors(baseline)}: {_compared(verdict.gain(name))}"
    yield "size", text.size(champion.size_bytes)
    yield "latency", f"p50 {text.figure(champion.p50_ms)} ms, p99 {text.figure(champion.p99_ms)} ms"


def headline(verdict: Verdict, champion: Candidate) -> str:
    """Return one line that names version, family and how it came to be champion; a baseline is called one."""
    how = "new" if verdict.promoted else verdict.reason or "stays"
    return f"{verdict.target} version {verdict.version}, {champion.name} ({champion.family}){_naive(verdict, champion)}; {how}"


def _naive(verdict: Verdict, champion: Candidate) -> str:
    """Say of a baseline why it is champion: what was trained is worse, or takes more than the gate admits; "" of another."""
    if champion.family not in BASELINES:
        return ""
    better = verdict.better(champion)
    if not better:
        return ", a naive forecast: no trained model was better"
    taken = f"p99 {text.figure(better[0].p99_ms)} ms, {text.size(better[0].size_bytes)}"
    return f", a naive forecast: {better[0].name} is better (MASE {text.figure(better[0].mase)}), but takes more than the gate admits ({taken})"


def reused(attempts: Mapping[str, Attempt], labels: Mapping[str, str]) -> str:
    """Say which steps came from the cache."""
    hits = [labels.get(step, step) for step, attempt in attempts.items() if attempt.cached]
    return f"{len(hits)} of {len(attempts)} steps{': ' if hits else ''}{', '.join(hits)}"


def _errors(candidate: Candidate) -> str:
    return f"MASE {text.figure(candidate.mase)}, MAE {text.figure(candidate.mae)}"


def _compared(gain: float | None) -> str:
    if gain is None:
        return "not comparable"
    return f"the champion's error is {text.share(abs(gain))} {'lower' if gain >= 0 else 'HIGHER'}"
