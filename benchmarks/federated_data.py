"""What the benchmark `federated` trains on: clients of three data sets, each with held-out examples of its own.

bitbrains: CPU of 149 VMs (August; 5 minutes) in ten regions that are not alike: the VMs are ranked by their mean load and cut in ten,
so that the first region idles and the last is busy. Tested on the last 7 days; at most 20,000 windows of the days before, drawn.
azure: 31 benchmark figures of 6 VMs; a client is one VM of one region (2 hours; tested on the last 60 days).
heart: 740 patients of 4 hospitals, prepared as FLamby does (columns slope, ca, thal left out, then rows with a gap; cp and restecg
one-hot; standardised by hospital), two thirds of each hospital's to train, the others to test, drawn by the seed: FLamby's
split is another, of the same sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks import transfer
from benchmarks.heart_regression import HeartRegression
from components.federated.forecaster import Forecaster, arrays_of, network_of
from components.federated.learner import Arrays, Learner
from fleetml.learn.windows import Windows

MOST = 20_000
_HEART = transfer.DATA / "fed_heart/heart_4_centers.csv.gz"
_MISSING_ELSEWHERE = ("slope", "ca", "thal")
_KINDS = ("cp", "restecg")
_TRAINED_SHARE = 0.66


def bitbrains(seed: int, regions: int = 10) -> tuple[dict[str, Learner], Learner, Arrays]:
    """Return the clients, one learner of all their examples, and the model they begin with."""
    from components.federated.regions import ranked

    group = transfer.cores()
    every = replace(group, fleet=np.concatenate([group.fleet, group.held]))
    train, test = _parts(every, seed)
    return _forecasters(train, test, ranked(train, regions), seed)


def azure(seed: int) -> tuple[dict[str, Learner], Learner, Arrays]:
    """The same for the VMs of both regions: their windows are named by the place of VM and figure in the table."""
    group = transfer.region()
    parts = []
    for name, values in (("eastus", group.fleet), ("westus2", group.held)):
        train, test = _parts(replace(group, fleet=values), seed, MOST // 2)
        parts.append([replace(it, vm_id=np.char.add(f"{name}-", it.vm_id)) for it in (train, test)])
    train, test = (_joined([part[index] for part in parts]) for index in (0, 1))
    # transfer.region ranks the rows by (metric, vm), and each metric has three VMs
    names = {each: f"{each.split('-')[0]}-vm{int(each.rsplit('-', 1)[1]) % 3}" for each in np.unique(train.vm_id)}
    return _forecasters(train, test, names, seed)


def heart(seed: int) -> tuple[dict[str, Learner], Learner, Arrays]:
    """The same for the hospitals, and a logistic regression."""
    import polars as pl

    table = pl.read_csv(_HEART, null_values=["", "NaN", "nan"]).drop(_MISSING_ELSEWHERE).drop_nulls()
    table = table.with_columns(pl.col("num") > 0).to_dummies([*_KINDS], drop_first=True)
    draws, parts = np.random.default_rng(seed), {}
    for (name,), rows in table.group_by("center", maintain_order=True):
        values = rows.drop("center", "num").to_numpy().astype(np.float32)
        values = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1)
        order = draws.permutation(len(values))
        cut = round(_TRAINED_SHARE * len(values))
        labels = rows["num"].to_numpy().astype(np.float32)
        parts[str(name)] = [(values[some], labels[some]) for some in (order[:cut], order[cut:])]
    clients: dict[str, Learner] = {name: HeartRegression(*train, *test) for name, (train, test) in parts.items()}
    pooled = [np.concatenate([part[side][it] for part in parts.values()]) for side in (0, 1) for it in (0, 1)]
    width = pooled[0].shape[1]
    return (
        clients,
        HeartRegression(*pooled),
        {"weight": np.zeros((1, width), np.float32), "bias": np.zeros(1, np.float32)},
    )


DATA = {"bitbrains": bitbrains, "azure": azure, "heart": heart}


def _parts(group: transfer.Group, seed: int, most: int = MOST) -> tuple[Windows, Windows]:
    """Return windows to train on, at most so many, and to test on."""
    steps = group.fleet.shape[1]
    test_begin = steps - group.test_days * group.day
    train = transfer.windows(group.fleet, group, 0, test_begin)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:most])
    return train[chosen], transfer.windows(group.fleet, group, test_begin, steps)


def _forecasters(
    train: Windows, test: Windows, region: Mapping[str, str], seed: int
) -> tuple[dict[str, Learner], Learner, Arrays]:
    own = {name: _names(part, region) for name, part in (("train", train), ("test", test))}
    clients: dict[str, Learner] = {
        str(name): Forecaster(train[own["train"] == name], test[own["test"] == name])
        for name in np.unique(own["train"])
    }
    return clients, Forecaster(train, test), arrays_of(network_of(train.meta, seed))


def _names(windows: Windows, region: Mapping[str, str]) -> npt.NDArray[np.str_]:
    return np.array([region.get(str(vm), "") for vm in windows.vm_id])


def _joined(parts: list[Windows]) -> Windows:
    names = ("vm_id", "origin", "history", "covariates", "target", "scale")
    return replace(parts[0], **{name: np.concatenate([getattr(it, name) for it in parts]) for name in names})
