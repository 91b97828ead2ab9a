"""A frozen class behaves as `dataclasses.dataclass(frozen=True)` makes it behave."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest

from fleetml import frozen as own
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


@pytest.mark.parametrize(("point", "named"), BOTH)
def test_arguments_are_those_of_the_class(point, named):
    assert named(1, 2, label="l").y == 2
    assert point(x=1).names is not point(x=1).names
    for given, known in (((), {}), ((1, 2, [], {}, 5), {}), ((1,), {"x": 1}), ((1,), {"z": 1})):
        with pytest.raises(TypeError):
            point(*given, **known)


@pytest.mark.parametrize("decorator", [frozen, dataclass(frozen=True)])
def test_what_a_class_does_after_its_fields_are_set(decorator):
    @decorator
    class Positive:
        number: int
        root: float = field(init=False, default=0.0)

        def __post_init__(self):
            if self.number < 0:
                raise ValueError(self.number)

    assert (Positive(4).root, copy.copy(Positive(4)), pickle.loads(pickle.dumps(Whole(4)))) == (
        0.0,
        Positive(4),
        Whole(4),
    )
    with pytest.raises(ValueError, match="-1"):
        Positive(-1)
    with pytest.raises(TypeError):
        Positive(1, root=2.0)


@frozen
class Whole:
    """At the top of a module, where pickle finds it."""

    number: int


def test_functions_of_this_module_do_as_those_of_dataclasses_do():
    @frozen
    class Box:
        whole: Whole
        several: tuple = ()
        names: dict = own.field(default_factory=dict)
        hidden: int = own.field(default=3, repr=False)

    box = Box(Whole(1), (Whole(2),), {"a": [Whole(3)]})
    assert repr(box).endswith("names={'a': [Whole(number=3)]})")
    assert (
        own.asdict(box)
        == asdict(box)
        == {
            "whole": {"number": 1},
            "several": ({"number": 2},),
            "names": {"a": [{"number": 3}]},
            "hidden": 3,
        }
    )
    assert [it.name for it in own.fields(Box)] == [it.name for it in fields(Box)]
    assert own.replace(box, hidden=4) == replace(box, hidden=4) != box
    with pytest.raises(TypeError):
        own.replace(box, other=1)


def test_a_mutable_class_is_equal_to_itself_alone():
    @own.mutable
    class State:
        """What goes on."""

        number: int
        seen: list = own.field(default_factory=list)

    one = State(1)
    one.number = 2
    assert (one.number, one.seen, one == State(2), own.replace(one, number=3).number) == (2, [], False, 3)


def test_a_default_that_all_would_share_is_refused():
    with pytest.raises(ValueError, match=r"Shared\.names"):

        @frozen
        class Shared:
            names: list = []  # noqa: RUF012
