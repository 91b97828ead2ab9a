"""FEATURE_EXTRACTION: which columns a model reads, and how they are transformed inside its graph."""

from dataclasses import replace
from typing import Any

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn.tables import table
from fleetml.learn.tables.table import CATEGORICAL, DATE, SPLIT, Feature, Table

_OF_TEXTS = ("one_hot", "ordinal")


def extract(dataset: Artifact, extracted: Artifact, metrics: Artifact, features: list[Any] | None = None) -> None:
    """Write the dataset with the features that are named (all of them where none is).

    Each is a column's name or {name, type, transformations}. The transformations are learnt from the training rows when a
    model is trained and become part of its graph. Raises InvalidParameter for an unknown column or transformation.
    """
    given = table.read(dataset.path)
    recipe = given.recipe
    columns = [name for name in given.frame.columns if name not in (SPLIT, recipe.target)]
    chosen = [table.feature(entry, columns, f"features[{at}]") for at, entry in enumerate(features or [])]
    if twice := {f.name for f in chosen if [g.name for g in chosen].count(f.name) > 1}:
        raise InvalidParameter(f"a feature is named once, {sorted(twice)[0]!r} is named again; remove one")
    made = tuple(_settled(given, feature) for feature in chosen) or recipe.features
    table.write(Table(given.frame, replace(recipe, features=made)), extracted.path)
    extracted.metadata.update(dataset.metadata)
    transformed = sum(bool(feature.transformations) for feature in made)
    metrics.log(features=len(made), transformed=transformed, categorical=sum(f.type == CATEGORICAL for f in made))


def _settled(given: Table, feature: Feature) -> Feature:
    kind = feature.type or table.infer(given.frame, feature.name)
    if not kind:
        raise InvalidParameter(
            f"feature {feature.name!r} must be a number, a text or a date, got {given.frame.schema[feature.name]}; "
            "convert the column or leave it out"
        )
    numeric_only = [each for each in feature.transformations if each not in _OF_TEXTS]
    if kind == CATEGORICAL and numeric_only:
        raise InvalidParameter(
            f"{numeric_only[0]} transforms numbers, feature {feature.name!r} is categorical; use {' or '.join(_OF_TEXTS)}"
        )
    if kind == DATE and feature.transformations:
        raise InvalidParameter(
            f"a date enters as what the calendar says of it, feature {feature.name!r} has the transformation "
            f"{feature.transformations[0]}; remove it"
        )
    return replace(feature, type=kind)
