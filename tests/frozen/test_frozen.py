"""A frozen class behaves as `dataclasses.dataclass(frozen=True)` makes it behave."""

from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import pytest

from fleetml.frozen import frozen


def _define(decorator, by_keyword):
    @decorator
    class Point:
        x: int
        y: int = 0
        names: list = field(default_factory=list)
        _known: dict = field(default_factory=dict, compare=False, repr=False)

    @by_keyword
    class Named(Point):
        label: str

        def __repr__(self):
            return f"<{self.label}>"

    return Point, Named


BOTH = [_define(frozen, frozen(kw_only=True)), _define(dataclass(frozen=True), dataclass(frozen=True, kw_only=True))]


@pytest.mark.parametrize(("point", "named"), BOTH)
def test_what_a_user_of_the_class_sees(point, named):
    one = point(1, names=["a"])
    assert repr(one).endswith("Point(x=1, y=0, names=['a'])")
    assert one == point(1, 0, ["a"], {"seen": True}) != point(2, names=["a"])
    assert one != (1, 0, ["a"])
    assert hash(point(1, 2, ())) == hash(point(1, 2, ()))
    assert replace(one, y=3) == point(1, 3, ["a"])
    assert asdict(one) == {"x": 1, "y": 0, "names": ["a"], "_known": {}}
    match one:
        case point(x, y):
            assert (x, y) == (1, 0)
    assert repr(named(1, label="l")) == "<l>"
    assert named(1, label="l") != named(1, label="m")
    with pytest.raises(TypeError):
        named(1, 0, [], {}, "l")


@pytest.mark.parametrize(("point", "named"), BOTH)
def test_nobody_changes_an_instance(point, named):
    for one in (point(1), named(1, label="l")):
        with pytest.raises(FrozenInstanceError):
            one.x = 2
        with pytest.raises(FrozenInstanceError):
            one.z = 2
        with pytest.raises(FrozenInstanceError):
            del one.x
        assert one.x == 1
