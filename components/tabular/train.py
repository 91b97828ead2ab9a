"""MODEL_TRAINING: one algorithm fitted to a dataset, as ONE ONNX graph."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import OBJECTIVES, REGRESSION
from fleetml.learn.tables import fit, scores, table
from fleetml.learn.tables.assemble import Ensemble, Weights, answered
from fleetml.learn.tables.equality import prove
from fleetml.learn.tables.heads import ROWS, Heads, declared
from fleetml.learn.tables.members import member
from fleetml.learn.tables.model import Description, TabularModel
from fleetml.learn.tables.table import TRAIN, VALIDATION, Table
from fleetml.learn.tables.target import described, learnt


def train(
    dataset: Artifact,
    model: Artifact,
    metrics: Artifact,
    algorithm: str = "random_forest",
    objective: str = "",
    seed: int = 0,
    threads: int = 1,
    **hyperparameters: Any,
) -> None:
    """Write the trained graph; its metadata tell algorithm, features, validation figures.

    The hyperparameters an algorithm knows stand in `fleetml.learn.algorithms`; those not given are the algorithm's own.
    Raises InvalidParameter for others, InvalidData for a dataset that cannot be learnt from.
    """
    chosen = fit.checked(algorithm, hyperparameters)
    given = with_objective(table.read(dataset.path), objective)
    made = learn(given, algorithm, chosen, seed, threads)
    publish(made, model)
    metrics.log(
        **scores.rounded(made.validation), algorithm=algorithm, size_bytes=len(made.content), rows=made.training_rows
    )


@dataclass(frozen=True)
class Trained:
    """A finished graph and its figures on the validation rows."""

    about: Description
    content: bytes
    validation: dict[str, float]
    training_rows: int


def with_objective(given: Table, objective: str) -> Table:
    """Return the dataset with another objective, where one is asked for. Raises InvalidParameter, InvalidData."""
    if not objective:
        return given
    if objective.lower() not in OBJECTIVES:
        raise InvalidParameter(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}; correct it")
    kind = OBJECTIVES[objective.lower()]
    recipe = given.recipe
    if kind == REGRESSION and not given.frame.schema[recipe.target].is_numeric():
        raise InvalidData(f"regression needs numbers, target {recipe.target!r} holds texts; classify it")
    return Table(given.frame, type(recipe)(recipe.target, kind, recipe.features))


@dataclass(frozen=True)
class Lesson:
    """What models of a dataset are fitted to and judged by: arrays, for a fork has none of the threads that frames are read with.

    `about` is what all of them share, `held` the validation rows and `truth` their target, `held_rows` [H, F] what models are given
    of them.
    """

    about: Description
    head: Heads
    task: fit.Task
    held: pl.DataFrame
    truth: pl.Series
    held_rows: fit.Floats

    def validation(self, estimator: Any) -> dict[str, float]:
        """Return the figures of a fitted estimator on the validation rows."""
        said = fit.outputs(estimator, self.held_rows, self.about.classifies)
        return scores.scores(self.about, self.truth, answered(self.about, said))


def lesson(given: Table, seed: int, threads: int) -> Lesson:
    """Return what models of a dataset are fitted to. Raises InvalidData for one that cannot be learnt from."""
    recipe, train, held = given.recipe, given.part(TRAIN), given.part(VALIDATION)
    about = replace(described(recipe, "", {}, train[recipe.target]), bounds=())
    head = declared(train, recipe.features)
    rows, held_rows = head.rows[ROWS], head.apply(ROWS, held)
    held_target = learnt(about, held[recipe.target])
    known = held_target >= 0 if about.classifies else np.ones(len(held_target), bool)
    if not known.any():
        raise InvalidData("the validation rows hold only classes that training has not seen; give more rows")
    target = learnt(about, train[recipe.target])
    task = fit.Task(about.objective, rows, target, held_rows[known], held_target[known], seed, threads)
    return Lesson(about, head, task, held, held[recipe.target], held_rows)


def learn(given: Table, algorithm: str, chosen: dict[str, Any], seed: int, threads: int) -> Trained:
    """Return the trained graph, proven to predict what the Python model does. Raises InvalidData, InvalidGraph."""
    it = lesson(given, seed, threads)
    return finished(it, algorithm, chosen, fit.fit(algorithm, it.task, chosen))


def finished(it: Lesson, algorithm: str, chosen: dict[str, Any], estimator: Any) -> Trained:
    """Return the graph of a fitted estimator, proven to predict what that does. Raises InvalidGraph."""
    about = replace(it.about, algorithm=algorithm, hyperparameters=chosen)
    one = member(it.head, algorithm, estimator, about.classifies)
    python = Ensemble(it.head, (one,), Weights((1.0,)), about)
    graph = python.graph()
    prove(graph, python.predict, it.held)
    content = graph.SerializeToString()
    said = TabularModel(content).predict(it.held)
    return Trained(about, content, scores.scores(about, it.truth, said), len(it.task.rows))


def publish(made: Trained, artifact: Artifact) -> None:
    """Write a trained graph as a Model artifact."""
    with aside(artifact.path) as temporary:
        temporary.write_bytes(made.content)
    about = made.about
    artifact.metadata.update(
        kind="tabular",
        algorithm=about.algorithm,
        objective=about.objective,
        target=about.target,
        hyperparameters=about.hyperparameters,
        validation=scores.rounded(made.validation),
        size_bytes=len(made.content),
    )
