from fleetml.report import verdict


def test_a_promoted_winner_is_the_champion(make_run):
    found = verdict.read(make_run().latest())
    assert (found.champion.name, found.champion.family, found.version) == ("hpo", "tcn", "3")
    assert found.promoted
    assert round(found.gain("seasonal_naive"), 3) == 0.196
    assert found.candidates[0].name == "hpo"


def test_without_promotion_and_without_a_champion_there_is_none(make_run):
    found = verdict.read(make_run(promote=False).latest())
    assert found.champion is None
    assert found.gain("last_value") is None


def test_a_failed_registration_promotes_nothing(make_run):
    found = verdict.read(make_run(failed="promote/register").latest())
    assert not found.promoted
    assert found.champion is None


def test_a_run_that_judged_nothing_has_no_verdict(make_run):
    assert verdict.read(make_run(failed="automl").latest()) is None


def test_scores_that_were_cleaned_up_are_no_verdict(make_run):
    run = make_run()
    (run.folder.parents[1] / "results" / "scores.json").unlink()
    assert verdict.read(run.latest()) is None
