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
    memory_mb: int = 4096,
) -> None:
    """Search a tabular forecaster; write the best graph and the leaderboard.

    `patience`: trials without a better one that end the search, 0: none. `counted`: no clock decides how long a trial learns, so
    the same seed and trials give the same model; `timeout_seconds` ends the search between trials only. Trials are in a process of
    their own: one that crashes, hangs, or takes more than `memory_mb` (0: no limit) does not end the search.
    Raises InvalidParameter for an empty budget, InvalidData for windows that cannot be scored, SearchFailed when
    nothing could be trained.
    """
    search.check_budget(trials, timeout_seconds)
    from fleetml.learn.tabular_trainer import TabularTrainer

    trainer = TabularTrainer(windows.load(train.path), windows.load(val.path), seed)
    budget = (trials, timeout_seconds, seed)
    result = search.search(trainer, trainer.families, *budget, patience=patience, counted=counted, memory_mb=memory_mb)
    boards.publish(result, model, leaderboard, metrics, budget_met=True)
