"""Compression: the smallest INT8 graph whose error grows by no more than allowed, or the graph as it is."""

import logging
import math
from dataclasses import dataclass

import onnx

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import graph, search, windows
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.metrics import mase
from fleetml.learn.windows import Windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """A compressed graph: validation MASE, its growth as a share of the original's (`loss`), size in bytes."""

    method: str
    model: onnx.ModelProto
    validation_mase: float
    loss: float
    size_bytes: int


def compress(
    model: Artifact, train: Artifact, val: Artifact, max_loss: float, compressed: Artifact, metrics: Artifact
) -> None:
    """Write the compressed graph; its metadata say method, ratio, loss and, where nothing was gained, the reason.

    Raises InvalidParameter for a negative or missing max_loss, InvalidGraph for a model that is none.
    """
    if not max_loss >= 0:
        raise InvalidParameter(
            f"parameter 'max_loss' of compress must be a share of the error from 0, got {max_loss}; 0.02 allows 2 %"
        )
    original = graph.load(model.path)
    val_windows = search.require_scored(windows.load(val.path), "val")
    before = _attempt("none", original, val_windows, math.nan)
    best, reason = choose(before, windows.load(train.path), val_windows, max_loss)
    ratio = round(before.size_bytes / best.size_bytes, 3)
    figures: dict[str, str | float] = {"method": best.method, "ratio": ratio, "loss": round(best.loss, 5)}
    graph.publish(
        best.model,
        compressed,
        validation_mase=best.validation_mase,
        reason=reason,
        original_size_bytes=before.size_bytes,
        **figures,
    )
    metrics.log(**figures, validation_mase=round(best.validation_mase, 4), size_bytes=best.size_bytes, reason=reason)


def choose(before: Attempt, train: Windows, val: Windows, max_loss: float) -> tuple[Attempt, str]:
    """Return the smallest attempt within max_loss, else the original, and why."""
    from components.compress import quantize

    if not quantize.quantisable(before.model):
        family = graph.describe(before.model).family
        return before, f"a graph of family {family!r} has no matrix product or convolution worth quantising"
    admitted, refused = [], []
    for method, run in quantize.METHODS.items():
        attempt = _attempt(method, run(before.model, train), val, before.validation_mase)
        log.info(
            "%s: %d bytes, MASE %.4f, loss %.4f", method, attempt.size_bytes, attempt.validation_mase, attempt.loss
        )
        if attempt.size_bytes >= before.size_bytes:
            refused.append(f"{method} is not smaller ({attempt.size_bytes} bytes)")
        elif not attempt.loss <= max_loss:
            refused.append(f"{method} loses {attempt.loss:.2%} of validation MASE")
        else:
            admitted.append(attempt)
    if not admitted:
        return before, f"no method within max_loss={max_loss:g}: " + ", ".join(refused)
    return min(admitted, key=lambda attempt: attempt.size_bytes), ""


def _attempt(method: str, model: onnx.ModelProto, val: Windows, before: float) -> Attempt:
    content = model.SerializeToString()
    score = mase(val, Forecaster(content).forecast(val))
    # A model that is never wrong (before = 0) may not become wrong at all.
    loss = 0.0 if math.isnan(before) or score <= before == 0 else (score / before - 1 if before else math.inf)
    return Attempt(method, model, score, loss, len(content))
