"""Power of cloud machines by instance type: watts per vCPU, idle and at most.

The method is Cloud Carbon Footprint's (https://www.cloudcarbonfootprint.org/docs/methodology): the mean of SPECpower's results
for servers of a processor's microarchitecture, by thread; a vCPU is one. The figures are rounded. Where a family runs on
several microarchitectures the commoner one is taken.
"""

from __future__ import annotations

import re

from fleetml.errors import ConfigurationError, nearest

WATTS = {
    "Haswell": (1.90, 6.0),
    "Broadwell": (0.71, 3.7),
    "Skylake": (0.65, 4.2),
    "Cascade Lake": (0.64, 4.0),
    "EPYC 1st Gen": (0.82, 2.6),
    "EPYC 2nd Gen": (0.47, 1.7),
    "EPYC 3rd Gen": (0.45, 2.0),
    "Graviton2": (0.47, 1.7),
}
"""Microarchitecture -> watts per vCPU: idle, at full load."""

_FAMILIES = {
    "Haswell": "c4 d2",
    "Broadwell": "m4 r4 t2 p2 p3 Standard_D_v3 Standard_E_v3",
    "Skylake": "m5 m5d c5 c5d c5n r5 r5d t3 n1 e2",
    "Cascade Lake": "m5n r5n g4dn p4d n2 c2 Standard_D_v4 Standard_E_v4 Standard_F_v2",
    "EPYC 1st Gen": "m5a r5a t3a",
    "EPYC 2nd Gen": "c5a g4ad g5 n2d Standard_Da_v4 Standard_Ea_v4",
    "EPYC 3rd Gen": "m6a c6a r6a t2d Standard_Da_v5 Standard_Ea_v5",
    "Graviton2": "m6g c6g r6g t4g",
}
_ARCHITECTURE = {family: name for name, families in _FAMILIES.items() for family in families.split()}


def watts(instance: str) -> tuple[float, float]:
    """Return the watts per vCPU of an instance type such as m5.xlarge, n2-standard-4, Standard_D4s_v3: idle, at full load.

    Raises ConfigurationError for one that is not known.
    """
    family = _family(instance)
    if family not in _ARCHITECTURE:
        raise ConfigurationError(
            f"FLEETML_COST_INSTANCE must be of a known family, {instance!r} is of {family!r}{nearest(family, _ARCHITECTURE)} "
            f"Known are {', '.join(_ARCHITECTURE)}; take one like it, or set FLEETML_COST_WATTS_PER_VCPU instead"
        )
    return WATTS[_ARCHITECTURE[family]]


def _family(instance: str) -> str:
    if found := re.fullmatch(r"Standard_([A-Z])[A-Z]*\d+(?:-\d+)?(a?)[a-z]*_(v\d)", instance):  # Azure
        return f"Standard_{found[1]}{found[2]}_{found[3]}"
    return re.split(r"[.-]", instance, maxsplit=1)[0]
