"""Which windows belong to which client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from fleetml.errors import InvalidData
from fleetml.learn.training import scorable
from fleetml.learn.windows import Windows


def by_region(windows: Windows, data: Path, clients: int) -> dict[str, Windows]:
    """Return each client's windows by the name of its region.

    The regions are those of the canonical table. Where it names none, the VMs are ranked by their mean history and cut
    into `clients` groups of equal size: a documented split that is not identically distributed, idle VMs apart from busy ones.
    Windows that cannot be scored are nobody's. Raises InvalidData for fewer than two clients.
    """
    windows = scorable(windows)
    region = _known(data) or ranked(windows, clients)
    names = np.array([region.get(str(vm), "") for vm in windows.vm_id])
    found = {str(name): windows[names == name] for name in np.unique(names) if name}
    if len(found) < 2:
        raise InvalidData(
            f"federated training needs windows of at least two regions, got {sorted(found) or 'none'}; give data of more "
            "regions, or without a region column to have the VMs grouped"
        )
    return found


def like(regions: Mapping[str, Windows], windows: Windows) -> dict[str, Windows]:
    """Return other windows of the regions' VMs, by region; none where a region has none."""
    return {name: windows[np.isin(windows.vm_id, np.unique(part.vm_id))] for name, part in regions.items()}


def _known(data: Path) -> dict[str, str]:
    pairs = pl.scan_parquet(data).select("vm_id", "region").drop_nulls().unique("vm_id").collect()
    return dict(pairs.iter_rows())


def ranked(windows: Windows, clients: int) -> dict[str, str]:
    """Return the group of each VM: they are ranked by their mean history and cut into as many of equal size."""
    vms = np.unique(windows.vm_id)
    level = [float(windows.history[windows.vm_id == vm].mean()) for vm in vms]
    groups = np.array_split(vms[np.argsort(level, kind="stable")], max(clients, 1))
    return {str(vm): f"group-{index}" for index, group in enumerate(groups) for vm in group}
