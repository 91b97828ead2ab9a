"""Run the benchmarks named on the command line, all of them without names; print one line a figure."""

import importlib
import os
import sys

NAMES = ("engine", "resume", "ingest", "serving")


def main(names: list[str]) -> int:
    """Return 1 if a benchmark could not run."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for name in names or NAMES:
        for figure, value, unit in importlib.import_module(f"benchmarks.{name}").run():
            print(f"{name:<8} {figure:<68} {value:>12,.3f} {unit}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
