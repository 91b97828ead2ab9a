"""The power model of a file, which a pipeline fits again now and then.

| found | result |
|---|---|
| no file (yet), or one that is no power model | nothing is predicted, or as before; told |
| a scenario that lacks a feature, or has a word, that the model does not know | nothing is predicted of it |
| one whose numbers lie outside what was measured | the power is predicted, without an interval |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleetml import atomic
from fleetml.cost.catalogue import Predicted
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.rows import features
from fleetml.cost.scenarios import Scenario
from fleetml.errors import InvalidData

Predict = Callable[[Scenario], Predicted | None]


class Model:
    """What a model file predicts; `hardware`: what the machine of all scenarios is ("": what each says of its encoder)."""

    def __init__(self, path: Path, hardware: str = "") -> None:
        self.faults: tuple[str, ...] = ()
        self._path, self._hardware = path, hardware
        self._stamp: tuple[int, ...] | None = ()
        self._predict: Predict | None = None

    def __call__(self) -> Predict | None:
        """Return what predicts, the same until the file changes; None: nothing does."""
        if (stamp := self._seen()) != self._stamp:
            self._stamp = stamp
            try:
                self._predict, self.faults = self._read(), ()
            except (InvalidData, OSError, ValueError) as error:
                kept = "as before" if self._predict else "nothing is predicted"
                self.faults = (f"the power model {self._path}: {error}; {kept}",)
        return self._predict

    def _read(self) -> Predict:
        model = PowerModel.from_json(atomic.read_bytes(self._path), str(self._path))

        def predict(scenario: Scenario) -> Predicted | None:
            found = model.predict(features(scenario, self._hardware or None))
            if found is None:
                return None
            if found.beyond:  # there the interval does not hold
                return Predicted(found.watts)
            return Predicted(found.watts, found.low, found.high)

        return predict

    def _seen(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
