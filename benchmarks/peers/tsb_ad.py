"""TSB-AD's own PCA and OCSVM on SMD, judged by our VUS-PR and by its own: `PYTHONPATH=. .venv/peers-anomaly/bin/python benchmarks/peers/tsb_ad.py`.

Both must give the published figures (../shared/data/smd/published_tsbad_vus_pr.csv.gz), else our data, prefix or border are not its.
"""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from TSB_AD.evaluation.metrics import generate_curve
from TSB_AD.model_wrapper import run_OCSVM, run_PCA
from TSB_AD.utils.slidingWindows import find_length_rank

from benchmarks.vus import period, vus_pr

REAL = Path(__file__).parents[3] / "shared/data/smd"
PREFIX = {"machine-1-7": 737, "machine-2-1": 5923, "machine-3-4": 2634}
"""In the names of TSB-AD's files."""

if __name__ == "__main__":
    with gzip.open(REAL / "published_tsbad_vus_pr.csv.gz", "rt") as file:
        published = {row["machine"]: row for row in csv.DictReader(file)}
    for machine, prefix in PREFIX.items():
        table = parquet.read_table(REAL / f"{machine}.parquet")
        test = np.asarray(table["split"].to_pylist()) == "test"
        metrics = [column for column in table.schema.names if column.startswith("m")]
        rows = np.stack([table[column].to_numpy()[test] for column in metrics], axis=1).astype(float)
        labels = table["label"].to_numpy()[test].astype(int)
        border = int(find_length_rank(rows[:, 0]))
        scores = {
            "PCA": run_PCA(rows, slidingWindow=1, n_components=0.25),
            "OCSVM": run_OCSVM(rows[:prefix], rows, kernel="rbf", nu=0.1),
        }
        for name, score in scores.items():
            theirs = generate_curve(labels, score, border, "opt", 250)[-1]
            ours = vus_pr(labels, score, period(rows[:, 0]))
            print(
                f"{machine} {name:<6} ours {ours:.6f}  TSB-AD {theirs:.6f}  published {float(published[machine][name]):.6f}",
                flush=True,
            )
