"""Features made when they are asked for, by this code offline and online."""

from typing import Any

VIEW = "vm_load"
FEATURES = {"pressure": "share of the scarcer of CPU and memory, 0 to 1 and above", "io": "kB/s, disk + network"}


def vm_load(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return pressure and io of each row of vm_metrics; what is not known of a row is left out, None where nothing is.

    Feast keeps the text of this function: what it needs stands inside it.
    """
    import math

    def known(*values: Any) -> list[float]:
        return [value for value in values if value is not None and not math.isnan(value)]

    pressure, io = [], []
    for cpu, memory in zip(inputs["cpu_usage"], inputs["memory_usage"], strict=True):
        shares = known(cpu, memory)
        pressure.append(max(shares) / 100.0 if shares else None)
    for disk, network in zip(inputs["disk_io"], inputs["network_io"], strict=True):
        flows = known(disk, network)
        io.append(sum(flows) if flows else None)
    return {"pressure": pressure, "io": io}
