"""What evidence says of a rollout. Pure: no clock, no files.

A VM is a unit: it stays on its side, and the errors of one VM depend on each other. Both versions are asked the same
questions of the share's VMs (ADR 10), so a VM gives one paired figure however often it asked: d = (e2 - e1) / (e2 + e1), with
e1, e2 the summed absolute errors of the served and the second version; -1 to 1, below 0 where the second is better.
Where neither version is better, swapping their names changes nothing, so d is symmetric about 0 over VMs; Wilcoxon's
signed-rank test of that is exact and does not ask how errors are distributed.

Looks are valid at any time: look k = 1, 2, … may reject at alpha / (k (k + 1)), which sum up to alpha, so that by Bonferroni's
bound the chance of any false rejection is at most alpha however looks depend on each other. So p = min over looks of
p_k k (k + 1) is an always valid p-value (Johari, Pekelis and Walsh, Always valid inference, 2015, definition 1). A look
counts only when the paired rows have doubled since the one before and the VMs are enough that it could reject at all, which
does not depend on who is better.
"""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
SAME = 1e-4
"""|d| below which a VM says nothing: the same graph in another batch differs by as much as float32 does."""


@dataclass(frozen=True)
class Policy:
    """When a rollout goes on, ends well or ends badly.

    `alpha` is the chance at most to promote a version that is no better, and to call one worse that is not. A step of the canary
    lasts until `least_rows` judged questions fell to the second version, had it its share, over `least_minutes` of origins.
    A canary or shadow that shows nothing in `patience_hours` is rolled back. Failures above the served version's rate by
    `failure_margin`, or a p99 surely above `latency_factor` times its and `latency_floor_ms`, roll back once there are `least_answers`;
    so does `error_factor` times its error over all VMs once there are `least_rows`: few VMs prove nothing, and yet no more of
    them are to suffer it.
    """

    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    alpha: float = 0.05
    least_rows: int = 50
    least_minutes: float = 60.0
    patience_hours: float = 72.0
    failure_margin: float = 0.01
    error_factor: float = 2.0
    latency_factor: float = 2.0
    latency_floor_ms: float = 10.0
    least_answers: int = 50


@dataclass(frozen=True)
class Side:
    """One version under traffic: `answers` it gave or should have given, `failures` among them, p99 in ms (NaN: unknown).

    `surely_ms`: the p99 is at least that, but for one chance in a thousand; of few answers the longest say little.
    """

    answers: int = 0
    failures: int = 0
    p99_ms: float = float("nan")
    surely_ms: float = float("nan")

    @property
    def failure_rate(self) -> float:
        return self.failures / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class Evidence:
    """What is known of a rollout at a look.

    served_error and second_error [VMs]: summed absolute errors of both versions over the same questions, `rows` in all.
    Since the step began: `step_rows` questions of all VMs were judged, their origins span `step_minutes`.
    """

    mode: str
    share: float
    served: Side
    second: Side
    served_error: Values
    second_error: Values
    rows: int
    step_rows: int
    step_minutes: float
    age_hours: float


@dataclass(frozen=True)
class Hypothesis:
    """A question to the evidence from look to look: how many counted, the rows from which the next may, the always valid p-value so far."""

    looks: int = 0
    next_rows: int = 0
    p: float = 1.0

    @property
    def spent(self) -> int:
        """What the p-value of the next look is multiplied by."""
        return (self.looks + 1) * (self.looks + 2)

    def after(self, d: Values, rows: int, policy: Policy) -> "Hypothesis":
        """Return the test after a look at d [VMs]: is it below 0? It may not count."""
        if rows < max(self.next_rows, policy.least_rows) or 0.5 ** len(d) > policy.alpha / self.spent:
            return self
        return Hypothesis(self.looks + 1, 2 * rows, min(self.p, self.spent * signed_rank(d)))


@dataclass(frozen=True)
class Progress:
    """What is remembered from look to look: is the second version better, is it worse?"""

    better: Hypothesis = field(default_factory=Hypothesis)
    worse: Hypothesis = field(default_factory=Hypothesis)


@dataclass(frozen=True)
class Decision:
    """`action` is wait, advance (to `share`), promote or rollback."""

    action: str
    reason: str
    share: float
    progress: Progress = field(default_factory=Progress)


def decide(evidence: Evidence, progress: Progress, policy: Policy) -> Decision:
    """Return what is to be done now. Only a canary goes on or is promoted by itself; harm ends every rollout."""
    progress = look(evidence, progress, policy)
    if harm := _harm(evidence, progress, policy):
        return Decision("rollback", harm, 0.0, progress)
    if evidence.mode != "ab" and evidence.age_hours >= policy.patience_hours:
        shown = f"not shown to be better in {policy.patience_hours:g} hours ({_told(evidence, progress)})"
        return Decision("rollback", shown, 0.0, progress)
    if evidence.mode != "canary":
        return Decision(
            "wait", f"{evidence.mode}: a person decides ({_told(evidence, progress)})", evidence.share, progress
        )
    return _canary(evidence, progress, policy)


def look(evidence: Evidence, progress: Progress, policy: Policy) -> Progress:
    """Return the progress after this look. Whether a canary is better is asked in its last step, where it matters."""
    d = paired(evidence)
    better = progress.better
    if evidence.mode != "canary" or evidence.share >= policy.steps[-1]:
        better = better.after(d, evidence.rows, policy)
    return Progress(better, progress.worse.after(-d, evidence.rows, policy))


def paired(evidence: Evidence) -> Values:
    """Return d of each VM that was judged."""
    total = evidence.second_error + evidence.served_error
    known = total > 0
    found: Values = (evidence.second_error - evidence.served_error)[known] / total[known]
    return found


def signed_rank(d: Values) -> float:
    """Return the p-value of Wilcoxon's signed-rank test that d lies below 0, exact up to 50 VMs, normal beyond.

    W, the sum of the ranks by size of what is above 0, is at most as large under symmetry with probability
    P(W <= w) (Wilcoxon, Individual comparisons by ranking methods, 1945). scipy.stats.wilcoxon gives the same, in a hundred
    times the time; equal sizes have different ranks here, in any order, which leaves the test exact.
    """
    d = d[np.abs(d) > SAME]
    n = len(d)
    w = int((1 + np.flatnonzero(d[np.argsort(np.abs(d))] > 0)).sum())
    if n <= 50:
        return float(_at_most(n)[w])
    mean, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return 0.5 * math.erfc((mean - w - 0.5) / spread / math.sqrt(2))


@functools.cache
def _at_most(n: int) -> Values:
    """Return P(W <= w) for each w: each rank is above 0 or not, with equal chance."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return np.cumsum(chances)


def total_errors(evidence: Evidence) -> tuple[float, float]:
    """Return the summed absolute errors of both versions over all VMs: the served one's, the second's."""
    return float(evidence.served_error.sum()), float(evidence.second_error.sum())


def _harm(evidence: Evidence, progress: Progress, policy: Policy) -> str:
    """Say why the second version must go; "": it need not."""
    second, served = evidence.second, evidence.served
    if second.answers >= policy.least_answers:
        if second.failure_rate > served.failure_rate + policy.failure_margin:
            return f"{second.failures} of {second.answers} questions failed ({served.failure_rate:.1%} with the served version)"
        limit = max(policy.latency_floor_ms, policy.latency_factor * served.p99_ms)
        if second.surely_ms > limit:
            return f"p99 of at least {second.surely_ms:.1f} ms is above {limit:.1f} ms (served version: {served.p99_ms:.1f} ms)"
    if progress.worse.p <= policy.alpha:
        return f"shown to be worse ({_told(evidence, progress)})"
    first, other = total_errors(evidence)
    if evidence.rows >= policy.least_rows and other > policy.error_factor * first > 0:
        return (
            f"its error is more than {policy.error_factor:g} times the served version's ({_told(evidence, progress)})"
        )
    return ""


def _canary(evidence: Evidence, progress: Progress, policy: Policy) -> Decision:
    passed = evidence.step_rows * evidence.share >= policy.least_rows and evidence.step_minutes >= policy.least_minutes
    further = [share for share in policy.steps if share > evidence.share]
    told = _told(evidence, progress)
    if not passed:
        return Decision("wait", f"the step of {evidence.share:.0%} goes on ({told})", evidence.share, progress)
    if further:
        return Decision("advance", f"no harm at {evidence.share:.0%} ({told})", further[0], progress)
    served, second = total_errors(evidence)
    if progress.better.p <= policy.alpha and second < served:
        return Decision("promote", f"shown to be better ({told})", 1.0, progress)
    return Decision("wait", f"not shown to be better yet ({told})", evidence.share, progress)


def _told(evidence: Evidence, progress: Progress) -> str:
    served, second = total_errors(evidence)
    change = f"error {second / served - 1:+.1%}, " if served > 0 else ""
    return f"{change}{len(paired(evidence))} VMs, p better {progress.better.p:.3g}, p worse {progress.worse.p:.3g}"
