"""MODEL_TRAINING: one algorithm fitted to a dataset, as ONE ONNX graph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import polars as pl

from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import CLASSIFICATION, OBJECTIVES, REGRESSION
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables import fit, scores, table, transformations
from fleetml.learn.tables.model import OUTPUTS, Description, TabularModel, assemble
from fleetml.learn.tables.table import TRAIN, VALIDATION, Table

TOLERANCE = 1e-3  # mean difference between graph and Python model; a tree may flip on the last bit of a few rows


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


def learn(given: Table, algorithm: str, chosen: dict[str, Any], seed: int, threads: int) -> Trained:
    """Return the trained graph, proven to predict what the Python model does. Raises InvalidData, InvalidGraph."""
    recipe, train, held = given.recipe, given.part(TRAIN), given.part(VALIDATION)
    if taken := [feature.name for feature in recipe.features if feature.name in OUTPUTS]:
        raise InvalidData(
            f"a graph's outputs are {' and '.join(OUTPUTS)}, a feature is called so too; rename {taken[0]!r}"
        )
    head = transformations.graph(train, recipe.features)
    rows, held_rows = _rows(head, train, recipe.features), _rows(head, held, recipe.features)
    about = _described(given, algorithm, chosen, train[recipe.target])
    target, held_target = _learnt(about, train[recipe.target]), _learnt(about, held[recipe.target])
    known = held_target >= 0 if about.classifies else np.ones(len(held_target), bool)
    if not known.any():
        raise InvalidData("the validation rows hold only classes that training has not seen; give more rows")
    task = fit.Task(about.objective, rows, target, held_rows[known], held_target[known], seed, threads)
    estimator = fit.fit(algorithm, task, chosen)
    body = fit.convert(algorithm, estimator, rows.shape[1], about.classifies)
    content = assemble(head, body, about).SerializeToString()
    said = TabularModel(content).predict(held)
    expected = fit.outputs(estimator, held_rows, about.classifies)
    graph = (
        said.probabilities
        if said.probabilities is not None
        else ((said.prediction - about.scale[0]) / about.scale[1])[:, None]
    )
    if not (apart := float(np.abs(graph - expected).mean())) <= TOLERANCE:
        raise InvalidGraph(
            f"a graph must predict what its Python model does (mean difference <= {TOLERANCE}), got {apart:.3g}; "
            f"the conversion of {algorithm} changed the model"
        )
    return Trained(about, content, scores.scores(about, held[recipe.target], said), len(train))


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


def _described(given: Table, algorithm: str, chosen: dict[str, Any], target: pl.Series) -> Description:
    recipe = given.recipe
    if recipe.objective == CLASSIFICATION:
        classes = tuple(sorted(target.unique().to_list()))
        if len(classes) < 2:
            raise InvalidData(f"the training rows must hold two classes of {recipe.target!r}, got {classes}; give more")
        if isinstance(classes[0], float):
            given_as = f"whole numbers or texts, column {recipe.target!r} holds {target.dtype}"
            if any(value != int(value) for value in classes):
                raise InvalidData(f"classes are {given_as}; use objective: regression")
            classes = tuple(int(value) for value in classes)
        return Description(recipe.target, recipe.objective, algorithm, recipe.features, classes, chosen)
    values = target.cast(pl.Float64).to_numpy()
    scale = (float(values.mean()), float(values.std()) or 1.0)
    return Description(recipe.target, recipe.objective, algorithm, recipe.features, (), chosen, scale)


def _learnt(about: Description, target: pl.Series) -> np.ndarray[Any, Any]:
    if about.classifies:
        return scores.codes(about, target)
    return ((target.cast(pl.Float64).to_numpy() - about.scale[0]) / about.scale[1]).astype(np.float32)


def _rows(head: onnx.ModelProto, frame: pl.DataFrame, features: tuple[table.Feature, ...]) -> fit.Floats:
    from fleetml.learn.forecaster import session

    runner = session(head.SerializeToString())
    return np.asarray(
        runner.run([transformations.ROWS], dict(transformations.arrays(frame, features)))[0], dtype=np.float32
    )
