"""On real VM metrics a learnt model must beat both naive forecasts, as graphs on later windows than it has seen."""

from pathlib import Path

import numpy as np
import pytest

from fleetml.learn import search_space
from fleetml.learn.baselines import BASELINES
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.metrics import mase
from fleetml.learn.windows import Meta, Windows

BITBRAINS = Path(__file__).parents[3] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
META = Meta(target="bandwidth")
VMS, STEPS = 150, 8_640


@pytest.fixture(scope="module")
def splits() -> tuple[Windows, Windows, Windows]:
    if not BITBRAINS.exists():
        pytest.skip(f"real data not found: {BITBRAINS}")
    import polars as pl

    step = ((pl.col("ts") - 1375308000) // 300).alias("step")
    table = (
        pl.scan_parquet(BITBRAINS)
        .filter(pl.col("vm") <= VMS)
        .group_by("vm", step)
        .agg((pl.col("net_rx_kbs") + pl.col("net_tx_kbs")).mean().alias("value"))
        .collect()
    )
    values = np.full((VMS, STEPS), np.nan)
    inside = table.filter(pl.col("step") < STEPS)
    values[inside["vm"].to_numpy() - 1, inside["step"].to_numpy()] = inside["value"].to_numpy()
    scale = np.nanmean(np.abs(values[:, 288:7_800] - values[:, : 7_800 - 288]), axis=1)
    origins = np.random.default_rng(0).integers(288, 7_700, 12)
    return tuple(cut(values, scale, places) for places in (origins, range(7_800, 8_000, 48), range(8_100, 8_560, 48)))


def cut(values: np.ndarray, scale: np.ndarray, origins) -> Windows:
    """Cut windows of all VMs; the few missing steps of a history are filled forward."""
    vm, origin = (axis.ravel() for axis in np.meshgrid(np.arange(VMS), np.asarray(origins), indexing="ij"))
    spans = values[vm[:, None], origin[:, None] + np.arange(-META.context, META.horizon)]
    spans, vm, origin = (part[~np.isnan(spans[:, 0]) & (scale[vm] > 0)] for part in (spans, vm, origin))
    history, target = spans[:, : META.context], spans[:, META.context :]
    places = np.maximum.accumulate(np.where(np.isnan(history), 0, np.arange(META.context)), axis=1)
    return Windows(
        vm_id=vm.astype(str),
        origin=np.datetime64("2013-08-01", "us") + origin * np.timedelta64(300, "s"),
        history=np.take_along_axis(history, places, axis=1).astype(np.float32),
        covariates=np.empty((len(vm), 0), np.float32),
        target=target.astype(np.float32),
        scale=scale[vm].astype(np.float32),
        meta=META,
    )


def test_a_default_network_and_a_default_tree_ensemble_beat_the_naive_forecasts(splits):
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.tabular_trainer import TabularTrainer

    train, val, test = splits
    naive = min(mase(test, Forecaster(make(META).SerializeToString()).forecast(test)) for make in BASELINES.values())
    for trainer, family in ((NeuralTrainer(train, val, 0), "mlp"), (TabularTrainer(train, val, 0), "xgboost")):
        chosen = search_space.defaults(trainer.families[family])
        candidate = trainer.train(family, chosen, float("inf"), lambda epoch, score: None)
        score = mase(test, Forecaster(candidate.graph.SerializeToString()).forecast(test))
        assert score < 0.85 * naive, family
