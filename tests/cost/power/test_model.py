"""A fitted model, as exporters read and ask it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetml.cost.power.model import PowerModel, quantiles
from fleetml.cost.power.terms import Term
from fleetml.errors import InvalidData
from fleetml.frozen import replace

MODEL = PowerModel(
    kind="streams",
    terms=(Term(("streams",)),),
    coefficients=(5.0, 2.0),
    draws=((4.0, 2.0), (5.0, 2.0), (6.0, 2.0)),
    noise=(0.0, 0.0, 0.0),
    ranges={"streams": (1.0, 8.0)},
    words={},
    rows=12,
    mae=0.5,
    r2=0.9,
)


def test_a_prediction_by_hand() -> None:
    found = MODEL.predict({"streams": 3})
    assert found is not None
    assert (found.watts, found.low, found.high) == pytest.approx((11.0, 10.05, 11.95))


def test_power_is_never_below_zero() -> None:
    found = replace(MODEL, coefficients=(5.0, -2.0), draws=((5.0, -2.0),) * 3).predict({"streams": 8})
    assert found is not None
    assert (found.watts, found.low, found.high, found.least, found.most) == (0.0,) * 5


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantiles(values, [share])[0] == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


def test_predicting_loads_no_numpy() -> None:
    """The exporters' memory is limited; numpy takes 20 MB."""
    code = (
        "import sys; from fleetml.cost.power.model import PowerModel; from fleetml.cost import catalogue, scores, scenarios;"
        "from fleetml.cost.power.rows import features; from fleetml.cost.scenarios import Scenario;"
        "model = PowerModel.from_json(sys.argv[1]);"
        "print(model.predict(features(Scenario(name='4 Streams', streams=4, mbps=1.0))).watts, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, MODEL.to_json()], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["13.0", "False"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fleetml-power/0"},
        {"coefficients": [1.0]},
        {"coefficients": [float("nan"), 1.0]},
        {"draws": []},
        {"draws": [[1.0]]},
        {"noise": [1.0]},
        {"level": 95},
        {"ranges": {"streams": [1]}},
        {"terms": [{"numbers": ["streams"]}]},
    ],
)
def test_a_file_that_is_no_model_is_refused(change: dict[str, object]) -> None:
    content = json.loads(MODEL.to_json()) | change
    with pytest.raises(InvalidData, match=r"power\.json"):
        PowerModel.from_json(json.dumps(content), "power.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_a_half_written_model_is_refused(text: str) -> None:
    with pytest.raises(InvalidData, match="fit it again"):
        PowerModel.from_json(text)
