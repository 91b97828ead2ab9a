"""How far live features are from those of training: divergence in each VM's own terms, beyond what days differ by.

The choice is that of the study in docs/drift.md. On real fleets all days differ a little, and all VMs on one day together, so a
distance alone says little: what counts is how much larger it is than that of the training days among themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

LEAST_SPREAD = 0.1
"""Least deviation a VM is credited with, in logarithms: about 10 %; else a constant feature drifts by a hair."""
BINS = 10
ENOUGH = 20_000
"""Live rows, evenly spread, among which different values are counted: more change no limit."""
LEAST_DAY = 20
"""Rows a training day needs to tell how much days differ."""
_CHANCE = (
    27.9  # 99.9 % quantile of chi-squared with BINS - 1 degrees of freedom, which 2 n KL follows for equal samples
)
_VM = "vm_id"
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """One feature. `divergence` is KL(live ‖ training) in nats, `usual` what it may be where nothing changed.

    `missing` says that the feature is absent in most of the live rows and was not in training; `divergence` is that of the
    rest then, NaN where there is none.
    """

    divergence: float
    usual: float
    missing: bool = False

    @property
    def excess(self) -> float:
        """The divergence beyond the usual, at least 0; infinite where the feature went missing."""
        return float("inf") if self.missing else max(0.0, self.divergence - self.usual)


def score(judged: Sequence[Judged]) -> float:
    """Return the drift of the worst feature, from 0 to 1: sqrt(1 - exp(-excess)).

    That bounds the share of the traffic that may be distributed otherwise (the total variation: Bretagnolle and Huber, 1979);
    an excess of 0.1 is a score of 0.31.
    """
    worst = max((each.excess for each in judged), default=0.0)
    return float(np.sqrt(-np.expm1(-worst)))


def judge(live: pd.DataFrame, trained: pd.DataFrame, columns: Sequence[str]) -> dict[str, Judged]:
    """Compare `columns` of both tables, which hold vm_id; `trained` holds `origin` too, by which its days are told apart.

    VMs that training did not know have no terms of their own and are left out; where they ask more than the others, all are
    measured in the terms of the fleet.
    """
    known = live[_VM].isin(trained[_VM].unique())
    if known.mean() >= 0.5:
        live = live if known.all() else live[known]
    else:
        live, trained = (table.assign(**{_VM: ""}) for table in (live, trained))
    now, then = own_terms(live, trained, columns)
    day = trained["origin"].dt.floor("D").factorize()[0]
    return {column: _judge(live, column, now[column].to_numpy(), then[column].to_numpy(), day) for column in columns}


def _judge(live: pd.DataFrame, column: str, now: Floats, then: Floats, day: npt.NDArray[np.intp]) -> Judged:
    there, before = ~np.isnan(now), ~np.isnan(then)
    missing = bool(there.mean() < before.mean() / 2)
    if not there.any() or not before.any():
        return Judged(float("nan"), 0.0, missing)
    edges = np.unique(np.quantile(then[before], np.linspace(0, 1, BINS + 1)[1:-1]))
    days = _counts(then[before], day[before], edges)
    found = _divergence(_counts(now[there], np.zeros(int(there.sum()), np.int64), edges), days.sum(axis=0))
    # A value asked about again is no new one: a few VMs whose covariates stand still must not pass for a fleet.
    rows = np.flatnonzero(there)
    some = rows[:: -(-len(rows) // ENOUGH)]
    distinct = len(pd.DataFrame({_VM: live[_VM].iloc[some], column: live[column].iloc[some]}).drop_duplicates())
    return Judged(float(found[0]), max(between_days(days), _CHANCE / (2 * distinct)), missing)


def between_days(counts: Integers) -> float:
    """Return the largest divergence of one training day from the others, counts [days, bins]; 0 for less than two days."""
    days = counts[counts.sum(axis=1) >= LEAST_DAY]
    return float(_divergence(days, days.sum(axis=0) - days).max()) if len(days) > 1 else 0.0


def _counts(values: Floats, group: npt.NDArray[np.integer], edges: Floats) -> Integers:
    """Count values [N] by group and bin: [groups, bins]."""
    bins = len(edges) + 1
    place = group * bins + np.searchsorted(edges, values)
    return np.bincount(place, minlength=(int(group.max()) + 1) * bins).reshape(-1, bins)


def _divergence(live: Integers, trained: Integers) -> Floats:
    """Return KL(live ‖ trained) in nats of each row of counts; half a row more in each bin keeps it finite."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True) for counts in (live, trained))
    return np.asarray((p * np.log(p / q)).sum(axis=-1))


def own_terms(live: pd.DataFrame, trained: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables as standard scores of logarithms, by what each VM did in training.

    VMs differ by orders of magnitude, so in plain units the largest decide and a small one may double unseen. With
    s a tenth of the feature's median where it is positive, a value x of VM v becomes (log(1 + x / s) - median_v) / std_v;
    a VM unknown to training is measured by the median and deviation of all.
    """
    names = list(columns)
    unit = trained[names].where(trained[names] > 0).median().fillna(10.0) / 10
    log = _logs(trained, names, unit)
    by_vm = log.groupby(trained[_VM].to_numpy())
    centre, spread = by_vm.median(), by_vm.std(ddof=0)
    all_centre, all_spread = log.median(), log.std(ddof=0)
    scores = []
    for table, logs in ((live, _logs(live, names, unit)), (trained, log)):
        place = centre.index.get_indexer(pd.Index(table[_VM]))
        own = {
            name: _score(
                logs[name],
                *(
                    _of_vm(*parts)
                    for parts in ((centre[name], place, all_centre[name]), (spread[name], place, all_spread[name]))
                ),
            )
            for name in names
        }
        scores.append(pd.DataFrame(own))
    return scores[0], scores[1]


def _score(logs: pd.Series, centre: Floats, spread: Floats) -> Floats:
    return np.asarray((logs.to_numpy() - centre) / spread.clip(LEAST_SPREAD))


def _of_vm(known: pd.Series, place: npt.NDArray[np.intp], of_all: float) -> Floats:
    """Return each row's own figure, `of_all` where its VM (place -1) has none."""
    own = np.where(place < 0, np.nan, known.to_numpy()[place])
    return np.where(np.isnan(own), of_all, own)


def _logs(table: pd.DataFrame, names: list[str], unit: pd.Series) -> pd.DataFrame:
    logs: pd.DataFrame = np.log1p(table[names].clip(lower=0) / unit)  # type: ignore[assignment]
    return logs
