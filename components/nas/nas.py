"""The architecture search: MLP, GRU and TCN under a budget of trials, seconds and latency."""

from fleetml.component import Artifact
from fleetml.learn import search, windows


def nas(
    train: Artifact,
    val: Artifact,
    trials: int,
    timeout_seconds: float,
    latency_limit_ms: float,
    seed: int,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
) -> None:
    """Search a neural forecaster; write the best graph and the leaderboard.

    An architecture whose untrained graph is slower than `latency_limit_ms` (median of one forecast on one thread) is
    never trained. Raises InvalidParameter for an empty budget, SearchFailed when nothing could be trained.
    """
    search.check_budget(trials, timeout_seconds, latency_limit_ms)
    from fleetml.learn.neural_trainer import NeuralTrainer

    trainer = NeuralTrainer(windows.load(train.path), windows.load(val.path), seed, latency_limit_ms)
    result = search.search(trainer, trainer.families, trials, timeout_seconds, seed)
    search.publish(result, model, leaderboard, metrics)
