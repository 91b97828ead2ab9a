"""A finished run of train_forecaster as its records tell it, with real windows and real graphs behind it."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetml.learn import baselines
from fleetml.learn.windows import Meta, Windows
from fleetml.records import Attempt, Run

META = Meta(context=288, horizon=48)
VMS = [f"vm-{number:03d}" for number in range(12)]
STEPS = ["ingest", "validate", "features", "automl", "evaluate", "gate", "promote/register", "promote/deploy"]


def _windows() -> Windows:
    steps = np.arange(META.context + META.horizon)
    rows = np.stack([40 + 3 * n + 30 * np.sin(2 * np.pi * (steps + 9 * n) / 288) for n in range(len(VMS))])
    rows = rows + np.random.default_rng(0).normal(0, 3, rows.shape)
    return Windows(
        vm_id=np.array(VMS),
        origin=np.full(len(VMS), np.datetime64("2026-03-01T00:00", "us")),
        history=rows[:, : META.context].astype(np.float32),
        covariates=np.empty((len(VMS), 0), np.float32),
        target=rows[:, META.context :].astype(np.float32),
        scale=np.full(len(VMS), 4.0, np.float32),
        meta=META,
    )


def _scores(champion: float | None) -> dict:
    def candidate(family: str, mase: float) -> dict:
        per_vm = {vm: {"mase": mase * (0.6 + 0.07 * n), "mae": 4 * mase} for n, vm in enumerate(VMS)}
        return {
            "family": family,
            "mase": mase,
            "mae": 4 * mase,
            "per_vm": per_vm,
            "size_bytes": 48_200,
            "latency_ms_p50": 0.031,
            "latency_ms_p99": 0.084,
        }

    reigning = {"champion": candidate("tcn", champion)} if champion else {}
    return {
        "target": "bandwidth",
        "windows": 72,
        "vms": len(VMS),
        "step_seconds": 300,
        "horizon": 48,
        "champion_version": "2" if champion else "",
        "candidates": {
            "last_value": candidate("last_value", 1.31),
            "seasonal_naive": candidate("seasonal_naive", 1.02),
            "automl": candidate("lightgbm", 0.91),
            "nas": candidate("tcn", 0.84),
            "hpo": candidate("tcn", 0.82),
            "compressed": candidate("tcn", 0.83),
            **reigning,
        },
    }


def finished_run(
    home: Path,
    promote: bool = True,
    failed: str = "",
    cached: tuple[str, ...] = (),
    winner: str = "hpo",
    champion: float | None = None,
) -> Run:
    """Write the records of a run; `failed` names the step it stopped at, `champion` is the MASE of the one before."""
    results = home / "results"
    results.mkdir(parents=True)
    _windows().save(results / "test.parquet")
    (results / "model.onnx").write_bytes(baselines.seasonal_naive(META).SerializeToString())
    (results / "scores.json").write_text(json.dumps(_scores(champion)))
    (results / "report.html").write_text("<p>evaluate</p>")

    def item(name: str, file: str, kind: str = "system.Artifact", **metadata: object) -> list[dict]:
        return [{"name": name, "type": kind, "uri": str(results / file), "digest": "ab" * 32, "metadata": metadata}]

    artifacts = {
        "features": {"test": item("test", "test.parquet", "system.Dataset")},
        "evaluate": {"scores": item("scores", "scores.json"), "report": item("report", "report.html", "system.HTML")},
        "gate": {"model": item("model", "model.onnx", "system.Model")},
    }
    parameters = {
        "gate": {"promote": promote, "winner": winner, "reason": "best within 5 ms and 20 MB <b>"},
        "promote/register": {"version": "3"},
    }
    run = Run(home, "manual__2026-03-01T00:00:00+00:00")
    run.start(
        {
            "pipeline": "train-forecaster",
            "digest": "c0ffee",
            "engine": "airflow",
            "steps": STEPS,
            "parameters": {"source": "", "target": "bandwidth", "seed": 0},
        }
    )
    began = run.read()["started"]
    for place, step in enumerate(STEPS):
        if failed and STEPS.index(failed) < place:
            run.note(step, "upstream_failed", f"{failed} failed")
            continue
        if step.startswith("promote/") and not promote:
            run.note(step, "skipped", "promote is false: automl is not better")
            continue
        number, log = run.begin(step)
        outcome = {
            "state": "succeeded",
            "cached": step in cached,
            "parameters": parameters.get(step, {}),
            "artifacts": artifacts.get(step, {}),
        }
        failure = {
            "step": step,
            "type": "ValueError",
            "message": "no rows left",
            "file": "components/x/x.py",
            "line": 7,
            "log": str(log),
            "resume": "fleetml resume 'manual__2026-03-01T00:00:00+00:00'",
        }
        run.write(
            Attempt(
                step=step,
                number=number,
                state="failed" if step == failed else "succeeded",
                started=began + 2.5 * place,
                finished=began + 2.5 * place + 2,
                outcome=None if step == failed else outcome,
                failure=failure if step == failed else None,
                cost={
                    "cpu_seconds": 3.1,
                    "wall_seconds": 2.0,
                    "max_rss_bytes": 2.5e8,
                    "kwh": 4e-6,
                    "usd": 5e-5,
                    "co2_grams": 0.0016,
                },
                parts={"code": "feed" * 16},
                figures={"rows": 345_600, "vms": 40, "days": 30.0},
            )
        )
    run.finish("failed" if failed else "succeeded")
    return run


@pytest.fixture
def make_run(tmp_path: Path):
    return lambda **wanted: finished_run(tmp_path / "home with spaces", **wanted)
