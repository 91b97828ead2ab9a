"""What an architecture search chooses between: families, their spaces, and the network that a point of them means. Light: imports no learning library."""

from collections.abc import Mapping
from dataclasses import dataclass

from fleetml.learn.search_space import Number, Range, Space


def _recipe(learning_rate: float) -> dict[str, Range]:
    return {
        "learning_rate": Range(5e-4, 2e-2, learning_rate, log=True),
        "dropout": Range(0.0, 0.3, 0.1),
        "weight_decay": Range(1e-4, 1e-1, 1e-3, log=True),
    }


# Within a family nothing else tells as much of the error as the learning rate (the benchmark `nas`).
_SLOW, _FAST = _recipe(4e-3), _recipe(1e-2)
# In the order of promise: the defaults are tried first, and a short search ends there.
FAMILIES: dict[str, Space] = {
    "mlp": {"width": Range(32, 256, 128, log=True), "depth": Range(1, 3, 1), **_SLOW},
    "gru": {"width": Range(16, 128, 64, log=True), "patch": Range(6, 48, 24, log=True), **_FAST},
    "tcn": {
        "width": Range(8, 48, 32, log=True),
        "depth": Range(2, 4, 3),
        "kernel": Range(2, 5, 3),
        **_FAST,
    },
    "nbeats": {"width": Range(32, 256, 64, log=True), "depth": Range(1, 4, 2), **_FAST},
    "patch_transformer": {
        "width": Range(16, 96, 32, log=True),
        "depth": Range(1, 3, 2),
        "patch": Range(6, 48, 24, log=True),
        "heads": Range(1, 8, 4, log=True),
        **_FAST,
    },
}
# Networks for the rows of a table (`fleetml.learn.table_net`), by their blocks.
_TABLE: dict[str, Range] = {
    "width": Range(16, 256, 128, log=True),
    "depth": Range(1, 4, 2),
    "dropout": Range(0.0, 0.5, 0.1),
    "learning_rate": Range(2e-4, 2e-2, 2e-3, log=True),
    "weight_decay": Range(1e-6, 1e-1, 1e-3, log=True),
}
TABLE_FAMILIES: dict[str, Space] = {"resnet": _TABLE, "gated": _TABLE, "mlp": _TABLE}
# Widths are rounded to this many channels: what vector units and INT8 kernels like, and what any number of heads divides.
_LANES = 8


@dataclass(frozen=True)
class Architecture:
    """What the search chooses: the family of the body, its width (channels), depth (layers or blocks) and dropout.

    `kernel`: steps a convolution of tcn spans. `patch`: steps of five minutes that gru and patch_transformer read at a time.
    `heads`: of the attention of patch_transformer; it divides the width.
    """

    family: str = "mlp"
    width: int = 64
    depth: int = 2
    dropout: float = 0.0
    kernel: int = 3
    patch: int = 24
    heads: int = 4


def architecture(family: str, hyperparameters: Mapping[str, Number]) -> Architecture:
    """Return the architecture that a family's hyperparameters mean; those of the recipe of training are left out.

    A width is the nearest multiple of eight, a number of heads the power of two below: so heads divide widths.
    """
    plain = Architecture(family)
    return Architecture(
        family=family,
        width=_LANES * max(1, round(hyperparameters["width"] / _LANES)),
        depth=int(hyperparameters.get("depth", 1)),
        dropout=float(hyperparameters.get("dropout", plain.dropout)),
        kernel=int(hyperparameters.get("kernel", plain.kernel)),
        patch=int(hyperparameters.get("patch", plain.patch)),
        heads=min(_LANES, 1 << (int(hyperparameters.get("heads", plain.heads)).bit_length() - 1)),
    )
