"""AutoML: linear, random forest, XGBoost, LightGBM and MLP under a budget of trials and seconds."""

from fleetml.component import Artifact
from fleetml.learn import leaderboard as boards
from fleetml.learn import search, windows


def automl(
    train: Artifact,
    val: Artifact,
    trials: int,
    timeout_seconds: float,
    seed: int,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
    patience: int = 0,
    counted: bool = False,
) -> None:
    """Search a tabular forecaster; write the best graph and the leaderboard.

    `patience`: trials without a better one that end the search, 0: none. `counted`: no clock decides how long a trial learns, so
    the same seed and trials give the same model; `timeout_seconds` ends the search between trials only.
    Raises InvalidParameter for an empty budget, InvalidData for windows that cannot be scored, SearchFailed when
    nothing could be trained.
    """
    search.check_budget(trials, timeout_seconds)
    from fleetml.learn.tabular_trainer import TabularTrainer

    trainer = TabularTrainer(windows.load(train.path), windows.load(val.path), seed)
    result = search.search(trainer, trainer.families, trials, timeout_seconds, seed, patience=patience, counted=counted)
    boards.publish(result, model, leaderboard, metrics, budget_met=True)
