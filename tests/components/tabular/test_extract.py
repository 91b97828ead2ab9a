"""Features that are asked for."""

from typing import Any

import pytest

from fleetml.errors import InvalidParameter


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["agee"], r"features\[0\].name must be a column of the data, got 'agee'"),
        ([{"name": "age", "type": "complex"}], r"features\[0\].type must be one of"),
        ([{"name": "age", "transformations": ["cube"]}], r"features\[0\].transformations must be of"),
        ([{"name": "city", "transformations": "log"}], "log transforms numbers, feature 'city' is categorical"),
        (
            [{"name": "age", "type": "date", "transformations": "log"}],
            "feature 'age' has the transformation log; remove it",
        ),
        (["age", "age"], "a feature is named once, 'age'"),
        ([3], r"features\[0\] has name, type and transformations, got 3"),
    ],
)
def test_features_that_cannot_be_are_refused(dataset: Any, features: list[Any], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        dataset(features)
