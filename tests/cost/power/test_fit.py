"""What every kind of power model keeps to, and which is chosen."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetml.cost.power import batch
from fleetml.cost.power.fit import KINDS, choose, fit
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.rows import Row, features, rows
from fleetml.cost.power.terms import Term
from fleetml.cost.results_files import read
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.frozen import replace

MEASURED = Path(__file__).parents[4] / "shared/data/transcode_power"


def measured(count: int = 12, seed: int = 0, noise: float = 0.5) -> list[Row]:
    """Rows of a machine that idles at 5 W and draws 2 W a stream, and 1 W a stream and 10 Mpx/s; HEVC half as much again."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        streams, mbps = [1, 2, 4, 8][index % 4], [1.0, 2.5, 5.0][index % 3]
        megapixels, encoder = [0.9216, 2.0736][index // 2 % 2], ["h264", "hevc"][index // 4 % 2]
        work = streams * (2 + megapixels * 3) * (1.5 if encoder == "hevc" else 1)
        known = {"streams": streams, "mbps": mbps, "megapixels": megapixels, "fps": 30.0, "encoder": encoder}
        found.append(Row(5 + work + noise * rng.standard_normal(), {**known, "hardware": "cpu"}))
    return found


ROWS = measured()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_intervals_hold_what_is_expected(kind: str) -> None:
    model = fit(ROWS, kind)
    for row in ROWS:
        found = model.predict(row.features)
        assert found is not None
        assert 0 <= found.least <= found.low <= found.watts <= found.high <= found.most
        assert found.beyond == ()


def test_a_model_of_json_predicts_the_same(kind: str) -> None:
    model = fit(ROWS, kind)
    again = PowerModel.from_json(model.to_json())
    for row in ROWS:
        one, other = model.predict(row.features), again.predict(row.features)
        assert one is not None
        assert other is not None
        assert (one.watts, one.low, one.most) == pytest.approx((other.watts, other.low, other.most), rel=1e-6)
    assert again.to_json() == model.to_json()


def test_many_rows_at_once_are_predicted_as_one_by_one(kind: str) -> None:
    model = fit(ROWS, kind)
    watts, low, high = batch.predict(model, ROWS)
    single = [model.predict(row.features) for row in ROWS]
    assert np.allclose(watts, [it.watts for it in single if it])
    assert np.allclose(low, [it.low for it in single if it])
    assert np.allclose(high, [it.high for it in single if it])


def test_the_same_rows_give_the_same_model_in_any_order(kind: str) -> None:
    assert fit(ROWS, kind) == fit(ROWS, kind)
    turned = fit(ROWS[::-1], kind)
    assert turned.coefficients == pytest.approx(fit(ROWS, kind).coefficients)
    assert (turned.mae, turned.r2) == pytest.approx((fit(ROWS, kind).mae, fit(ROWS, kind).r2))


def test_leave_one_out_is_what_fitting_without_the_row_finds(kind: str) -> None:
    """But for the scale of shrunk terms, which is taken from all rows."""
    many = measured(24)
    left_out = []
    for index, row in enumerate(many):
        found = fit(many[:index] + many[index + 1 :], kind, draws=2).predict(row.features)
        assert found is not None
        left_out.append(abs(found.watts - row.watts))
    assert fit(many, kind, draws=2).mae == pytest.approx(np.mean(left_out), rel=0.05 if KINDS[kind].shrunk else 1e-6)


@pytest.mark.parametrize("count", [3, 5, 8, 15])
def test_few_rows_give_no_absurd_power(kind: str, count: int) -> None:
    few = measured(count, noise=2.0)
    model, most = fit(few, kind), max(row.watts for row in few)
    for row in measured(24):
        found = model.predict(row.features)
        if found is not None and not found.beyond:
            assert found.watts < 2 * most
            assert found.high < 4 * most


def test_power_in_another_unit_gives_predictions_in_it(kind: str) -> None:
    thousandth = fit([replace(row, watts=row.watts / 1000) for row in ROWS], kind)
    for row in ROWS:
        one, other = fit(ROWS, kind).predict(row.features), thousandth.predict(row.features)
        assert one is not None
        assert other is not None
        assert other.watts * 1000 == pytest.approx(one.watts)


def test_power_that_never_varies_is_that_power(kind: str) -> None:
    found = fit([replace(row, watts=42.0) for row in ROWS], kind).predict(ROWS[0].features)
    assert found is not None
    assert (found.watts, found.least, found.most) == pytest.approx((42.0, 42.0, 42.0))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 64), st.floats(0.1, 1e4)), min_size=3, max_size=15), st.sampled_from(list(KINDS))
)
def test_whatever_was_measured_predictions_are_finite_and_not_negative(
    found: list[tuple[int, float]], kind: str
) -> None:
    model = fit([Row(watts, {"streams": streams, "mbps": 2.5 * streams}) for streams, watts in found], kind, draws=20)
    for streams in (0, 3, 1000):
        prediction = model.predict({"streams": streams, "mbps": 2.5 * streams})
        assert prediction is not None
        assert 0 <= prediction.low <= prediction.watts <= prediction.high < math.inf


def test_the_work_is_found_where_power_follows_it() -> None:
    """Eight HD streams and five UHD streams were never measured together."""
    model = fit(measured(48, noise=0.2))
    assert model.kind in ("load", "interacting")
    assert model.r2 > 0.98
    found = model.predict(
        {"streams": 8, "mbps": 5.0, "megapixels": 2.0736, "fps": 30.0, "encoder": "h264", "hardware": "cpu"}
    )
    assert found is not None
    assert found.watts == pytest.approx(5 + 8 * (2 + 2.0736 * 3), rel=0.05)


def test_nothing_is_learnt_of_noise() -> None:
    rng = np.random.default_rng(1)
    noise = [replace(row, watts=float(10 + rng.standard_normal())) for row in ROWS]
    assert len(choose(noise, np.array([row.watts for row in noise])).terms) == 0 or fit(noise).r2 < 0.4


@pytest.mark.parametrize(("counts", "terms"), [((1, 2, 4, 8, 16), 1), ((1, 2, 4, 8, 16, 32), 2)])
def test_streams_are_linear_below_six_distinct_counts_and_of_degree_2_from_there(
    counts: tuple[int, ...], terms: int
) -> None:
    watts = [5 + 3 * it - 0.02 * it**2 * (terms - 1) for it in counts] * 2
    model = fit([Row(w, {"streams": s}) for w, s in zip(watts, counts * 2, strict=True)], "streams")
    assert len(model.terms) == terms
    found = model.predict({"streams": 6})
    assert found is not None
    assert found.watts == pytest.approx(5 + 18 - 0.72 * (terms - 1), rel=1e-6)


def test_streams_that_were_not_counted_are_left_out_where_enough_were() -> None:
    counted = [Row(5.0 + 2 * streams, {"streams": streams}) for streams in (1, 2, 4)]
    assumed = Row(100.0, {"streams": 1}, counted=False)
    found = fit([*counted, assumed], "streams")
    assert (found.rows, found.predict({"streams": 3}).watts) == (3, pytest.approx(11.0))  # type: ignore[union-attr]
    assert fit([*counted[:2], assumed], "streams").rows == 3


def test_what_the_model_needs_and_is_not_known_gives_no_prediction() -> None:
    model = fit(measured(48, noise=0.2))
    known = dict(ROWS[0].features)
    assert model.predict(known) is not None
    assert model.predict({**known, "megapixels": None}) is None
    assert model.predict({**known, "encoder": "av1"}) is None
    assert model.predict({}) is None


def test_what_lies_outside_the_measurements_is_named() -> None:
    found = fit(ROWS, "streams").predict({"streams": 64})
    assert found is not None
    assert found.beyond == ("streams",)


def test_a_word_that_names_each_row_is_no_term() -> None:
    named = [replace(row, features={**row.features, "hardware": f"host-{index}"}) for index, row in enumerate(ROWS)]
    assert all("hardware" not in dict(term.words) for term in fit(named, "interacting").terms)
    assert fit(named).predict({**ROWS[0].features, "hardware": "host-99"}) is not None


def test_there_are_never_more_terms_than_rows() -> None:
    """Eight encoders on eight machines would be 64 pairs."""
    words = [{"encoder": f"encoder-{index % 8}", "hardware": f"host-{index // 3 % 8}"} for index in range(24)]
    many = [replace(row, features={**row.features, **of}) for row, of in zip(measured(24), words, strict=True)]
    assert 0 < len(fit(many, "interacting", draws=2).terms) < len(many)


def test_the_interval_of_a_measurement_holds_new_ones() -> None:
    """Nominally 95 %; with 15 rows and what is shrunk, a little less."""
    inside = []
    for seed in range(10):
        model = fit(measured(15, seed, noise=2.0), "load")
        found = [(row.watts, model.predict(row.features)) for row in measured(24, seed + 100, noise=2.0)]
        inside += [it.least <= watts <= it.most for watts, it in found if it and not it.beyond]
    assert 0.85 < np.mean(inside) < 0.999


def test_an_outlier_does_not_turn_the_model_over() -> None:
    """One of fifteen at half its power, as measured on 29 December (8 streams at 5000k)."""
    clean = measured(15)
    spoilt = [replace(clean[11], watts=clean[11].watts / 2) if row is clean[11] else row for row in clean]
    found = fit(spoilt).predict(clean[3].features)
    assert found is not None
    assert found.watts == pytest.approx(clean[3].watts, rel=0.35)


@pytest.mark.parametrize(
    ("watts", "told"), [(0.0, "got 0.0"), (-1.0, "got -1.0"), (math.nan, "got nan"), (math.inf, "got inf")]
)
def test_power_that_is_none_is_refused(watts: float, told: str) -> None:
    with pytest.raises(InvalidData, match=told):
        fit([*ROWS, Row(watts, ROWS[0].features)])


def test_two_measurements_are_too_few() -> None:
    with pytest.raises(InvalidData, match="needs 3 measurements, got 2"):
        fit(ROWS[:2])


def test_an_unknown_kind_is_refused_and_the_near_one_named() -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'streams'"):
        fit(ROWS, "stream")


def test_terms_multiply() -> None:
    term = Term(("streams",)) * Term(("mbps",), (("encoder", "h264"),))
    assert term.value({"streams": 4, "mbps": 2.5, "encoder": "h264"}) == 10.0
    assert term.value({"streams": 4, "mbps": 2.5, "encoder": "hevc"}) == 0.0


@pytest.mark.skipif(not MEASURED.exists(), reason="the shared data are not here")
@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda path: path.stem)
def test_measured_streams_are_predicted_as_their_analysis_did(path: Path) -> None:
    """Within 5 %. The analysis took "10 Mbps Stream" for ten streams, so here the counts are what it took."""
    with path.with_name(f"{path.stem}_analysis.csv").open() as file:
        table = [row for row in csv.DictReader(file) if row["predicted_mean_power_w"]]
    counts = [float(re.match(r"\d+", row["name"])[0]) for row in table]  # type: ignore[index]
    model = fit(
        [Row(float(row["mean_power_w"]), {"streams": count}) for row, count in zip(table, counts, strict=True)],
        "streams",
    )
    for row, count in zip(table, counts, strict=True):
        found = model.predict({"streams": count})
        assert found is not None
        assert found.watts == pytest.approx(float(row["predicted_mean_power_w"]), rel=0.05)


@pytest.mark.skipif(not MEASURED.exists(), reason="the shared data are not here")
@pytest.mark.parametrize("day", ["20251228_203216", "20251229_125651", "20251229_142911"])
def test_measured_scenarios_whose_names_tell_streams_are_predicted_as_their_analysis_did(day: str) -> None:
    """Within 5 %, of all scenarios of the file: the idle one and the ladders tell no streams."""
    path = MEASURED / f"test_results_{day}.json"
    with path.with_name(f"{path.stem}_analysis.csv").open() as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    found = [replace(it, mean_power_w=float(table[it.name]["mean_power_w"])) for it in read(path).scenarios]
    model = fit(rows(found), "streams")
    compared = [it for it in found if table[it.name]["predicted_mean_power_w"]]
    assert len(compared) == 12
    for each in compared:
        prediction = model.predict(features(each))
        assert prediction is not None
        assert prediction.watts == pytest.approx(float(table[each.name]["predicted_mean_power_w"]), rel=0.05)
