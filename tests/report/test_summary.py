import json

from fleetml.report import summary

LABELS = {"validate": "Validate"}


def _lines(run) -> dict[str, str]:
    return dict(summary.lines(run.read(), run.latest(), LABELS))


def test_the_champion_stands_beside_the_naive_forecasts(make_run):
    told = _lines(make_run(cached=("validate",)))
    assert told["champion"] == "bandwidth version 3, hpo (tcn); new"
    assert told["error"] == "MASE 0.82, MAE 3.28, over 72 held-out windows of 12 VMs"
    assert told["seasonal naive"] == "MASE 1.02, MAE 4.08: the champion's error is 19.6 % lower"
    assert told["last value"].endswith("37.4 % lower")
    assert told["size"] == "48.2 kB"
    assert told["latency"] == "p50 0.031 ms, p99 0.084 ms"
    assert told["reused"] == "1 of 8 steps: Validate"
    assert told["cost"].startswith("24.8 CPU-s, 0.000032 kWh, ")


def test_a_naive_champion_is_called_one(make_run):
    told = _lines(make_run(winner="seasonal_naive"))
    assert (
        "seasonal_naive), a naive forecast: hpo is better (MASE 0.82), but takes more than the gate admits (p99 0.084 ms, 48.2 kB); new"
        in told["champion"]
    )
    assert "seasonal naive" not in told
    assert told["last value"].endswith("22.1 % lower")


def test_a_naive_champion_that_nothing_beats_is_called_so(make_run):
    run = make_run(winner="seasonal_naive")
    place = run.folder.parents[1] / "results/scores.json"
    scores = json.loads(place.read_text())
    for name in ("automl", "nas", "hpo", "compressed"):
        scores["candidates"][name]["mase"] = 1.2
    place.write_text(json.dumps(scores))
    assert ", a naive forecast: no trained model was better; new" in _lines(run)["champion"]


def test_a_champion_that_stays_is_compared_on_the_same_windows(make_run):
    told = _lines(make_run(promote=False, champion=1.1))
    assert told["champion"] == "bandwidth version 2, champion (tcn); best within 5 ms and 20 MB <b>"
    assert told["seasonal naive"].endswith("7.8 % HIGHER")


def test_no_champion_at_all_is_said(make_run):
    assert _lines(make_run(promote=False))["champion"] == "none of 'bandwidth': best within 5 ms and 20 MB <b>"


def test_a_run_without_scores_tells_what_it_reused_and_cost(make_run):
    assert set(_lines(make_run(failed="automl"))) == {"reused", "cost"}
