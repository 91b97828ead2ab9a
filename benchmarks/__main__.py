"""Run the benchmarks named on the command line, those of `NAMES` without names; print one line a figure."""

import importlib
import os
import sys

NAMES = ("engine", "resume", "ingest", "serving")
# These take minutes, or a Docker engine
OTHERS = (
    *("graph", "airflow", "containers", "point_in_time", "online_features", "drift", "placement", "anomaly"),
    *("automl", "hpo_tables", "nas", "gift_eval", "bandwidth", "compression", "smd", "nab"),
    *(
        "transfer",
        "manual_tuning",
        "when_to_run",
        "power",
        "federated",
        "federated_privacy",
        "federated_liars",
        "federated_real",
        "exporters",
    ),
)


def main(names: list[str]) -> int:
    """Return 2 for a name that is no benchmark."""
    if unknown := [name for name in names if name not in (*NAMES, *OTHERS)]:
        print(f"error: no benchmark '{unknown[0]}'; there are {', '.join((*NAMES, *OTHERS))}", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for name in names or NAMES:
        for figure, value, unit in importlib.import_module(f"benchmarks.{name}").run():
            print(f"{name:<8} {figure:<68} {value:>12,.3f} {unit}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
