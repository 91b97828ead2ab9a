import re

from fleetml.cost.estimate import Cost
from fleetml.frozen import asdict, replace
from fleetml.learn import conformal, graph, windows
from fleetml.report import page


def test_the_page_says_who_won_and_by_how_much(make_run):
    html = page.write(make_run(), (("Airflow", "http://127.0.0.1:1/x"),)).read_text()
    assert "hpo (tcn) is the new champion of “bandwidth”, version 3" in html
    assert "19.6 % less error than seasonal naive" in html
    assert 'href="http://127.0.0.1:1/x"' in html


def test_the_page_needs_nothing_else(make_run):
    html = page.render(make_run())
    assert not re.search(r'(src|href)="(https?:)?//', html)
    assert "<script" not in html
    assert html.count("<svg") == 6  # errors, two scatters, forecasts, steps, costs


def test_what_users_wrote_is_escaped(make_run):
    assert "20 MB &lt;b&gt;" in page.render(make_run())


def test_forecasts_are_shown_for_vms_from_best_to_worst(make_run):
    html = page.render(make_run())
    assert "vm-000, 2026-03-01 00:00 UTC" in html
    assert "vm-011, 2026-03-01 00:00 UTC" in html


def test_the_band_of_a_model_that_says_quantiles_is_drawn(make_run):
    run = make_run()
    results = run.folder.parents[1] / "results"
    assert "between the quantiles" not in page.render(run)
    made = conformal.calibrated(graph.load(results / "model.onnx"), windows.load(results / "test.parquet"))
    (results / "model.onnx").write_bytes(made.SerializeToString())
    assert page.render(run).count("between the quantiles 0.1 and 0.9") == 1, "in the legend of the examples"


def test_without_the_artifacts_the_report_does_without_examples(make_run):
    run = make_run()
    (run.folder.parents[1] / "results" / "model.onnx").unlink()
    html = page.render(run)
    assert "Forecasts on held-out windows" not in html
    assert "Error beside the naive forecasts" in html


def test_a_failed_run_shows_where_and_why(make_run):
    html = page.render(make_run(failed="features"))
    assert "no rows left" in html
    assert "components/x/x.py:7" in html
    assert "upstream_failed" in html


def test_cached_and_skipped_steps_are_told_apart(make_run):
    html = page.render(make_run(promote=False, cached=("validate",)))
    assert ">cached<" in html
    assert "promote is false: automl is not better" in html
    assert "No model of “bandwidth” was promoted" in html


def test_the_same_run_gives_the_same_page(make_run):
    run = make_run()
    assert page.render(run) == page.render(run)


def test_passwords_in_parameters_are_not_shown(make_run):
    run = make_run()
    run.update(parameters={"database": "postgresql://u:pass99@h/db"})
    html = page.render(run)
    assert "postgresql://u:***@h/db" in html
    assert "pass99" not in html


def test_the_page_shows_where_energy_and_money_went(make_run):
    run = make_run()
    first, *_ = run.latest().values()
    run.write(
        replace(
            first,
            number=2,
            cost=asdict(
                Cost(9.0, 4.0, 10**9, 0.0, 0.002, 0.0, 0.5, 0.8, "USD", "us-west-2", "rapl", "EIA", "Electricity Maps")
            ),
        )
    )
    run.finish("succeeded")
    html = page.render(run)
    assert "Where energy and money went" in html
    assert f'<td class="n">{(4e-6 + 0.002) * 1000:.4g}</td><td class="n">0.5 USD</td>' in html  # both attempts
    assert "<td>rapl</td>" in html
    assert "energy [Wh]" in html
    assert "money [USD]" in html
    assert "Region us-west-2; price by EIA, carbon intensity by Electricity Maps." in html


def test_two_currencies_are_neither_added_nor_drawn_on_one_axis(make_run):
    run = make_run()
    first, *_ = run.latest().values()
    run.write(replace(first, cost=asdict(Cost(9.0, 4.0, 10**9, 0.0, 0.002, 0.0, 0.5, None, "EUR"))))
    run.finish("succeeded")
    html = page.render(run)
    assert "<b>- EUR, USD</b>" in html
    assert "money [" not in html
    assert "0.5 EUR" in html
