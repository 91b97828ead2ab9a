"""``@frozen``: ``dataclasses.dataclass(frozen=True)`` that is cheap to define.

That one compiles six methods for each class, and its module loads `inspect` and the parser of Python: a run of cache hits, with
more than sixty classes, spent a third of its time there. Here all classes share their methods, and nothing is loaded. The
functions of `dataclasses` and ``match`` know no difference; `field`, `fields`, `replace` and `asdict` of this module do the same
for what a run of cache hits needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

C = TypeVar("C")
T = TypeVar("T")
_MISSING: Any = object()


class Field:
    """One field of a class, as `field` declares it."""

    def __init__(self, default: Any, default_factory: Any, init: bool, repr: bool, compare: bool) -> None:
        self.default, self.default_factory = default, default_factory
        self.init, self.repr, self.compare = init, repr, compare
        self.name, self.type, self.kw_only = "", "", False


@overload
def field(*, default: T, init: bool = True, repr: bool = True, compare: bool = True) -> T: ...


@overload
def field(*, default_factory: Callable[[], T], init: bool = True, repr: bool = True, compare: bool = True) -> T: ...


@overload
def field(*, init: bool = True, repr: bool = True, compare: bool = True) -> Any: ...


def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """Declare a field, as `dataclasses.field` does."""
    return Field(default, default_factory, init, repr, compare)


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[C], /) -> type[C]: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool) -> Callable[[type[C]], type[C]]: ...


def frozen(cls: type[Any] | None = None, /, *, kw_only: bool = False) -> Any:
    """Make a class an immutable dataclass; what it defines itself of the shared methods stays."""
    if cls is None:
        return lambda cls: _made(cls, kw_only, _SHARED)
    return _made(cls, kw_only, _SHARED)


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[C]) -> type[C]:
    """Make a class a dataclass whose fields can be set, and that is equal to itself alone."""
    return _made(cls, False, {"__init__": _initialise})


def fields(it: Any) -> tuple[Field, ...]:
    """Return the fields of a class or of its instance."""
    return tuple(it.__frozen_fields__.values())


def replace(it: C, /, **changes: Any) -> C:
    """Return a copy with some fields changed."""
    for name, known in it.__frozen_fields__.items():  # type: ignore[attr-defined]
        if known.init and name not in changes:
            changes[name] = it.__dict__[name]
    return it.__class__(**changes)


def asdict(it: Any) -> dict[str, Any]:
    """Return the fields as a mapping, those of the values in it too."""
    return {name: _plain(it.__dict__[name]) for name in it.__frozen_fields__}


def _plain(value: Any) -> Any:
    if hasattr(value, "__frozen_fields__"):
        return asdict(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(it) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_plain(it) for it in value])
    return value


def _made(cls: type[Any], kw_only: bool, methods: dict[str, Any]) -> type[Any]:
    known: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        known.update(base.__dict__.get("__frozen_fields__", {}))
    for name, kind in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 (it loads `inspect`)
        if not str(kind).startswith(("ClassVar", "typing.ClassVar")):
            known[name] = _field(cls, name, kind, kw_only)
    cls.__frozen_fields__ = known
    cls.__dataclass_fields__ = _Standard()
    setattr(cls, "__match_args__", tuple(name for name, it in known.items() if it.init and not it.kw_only))  # noqa: B010
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    return cls


def _field(cls: type[Any], name: str, kind: Any, kw_only: bool) -> Field:
    found = _own(cls.__dict__.get(name, _MISSING))
    if not isinstance(found, Field):
        if found.__class__.__hash__ is None:
            raise ValueError(f"a default of {cls.__qualname__}.{name} that can change is shared; use default_factory")
        found = Field(found, _MISSING, True, True, True)
    elif found.default is not _MISSING:
        setattr(cls, name, found.default)
    else:
        delattr(cls, name)
    found.name, found.type, found.kw_only = name, kind, kw_only
    return found


def _own(declared: Any) -> Any:
    """Return what `dataclasses.field` declared as ours; all else is a default and stays."""
    standard = sys.modules.get("dataclasses")
    if standard is None or not isinstance(declared, standard.Field):
        return declared
    default, factory = (
        _MISSING if it is standard.MISSING else it for it in (declared.default, declared.default_factory)
    )
    return Field(default, factory, declared.init, declared.repr, declared.compare)


class _Standard:
    """The fields as the module `dataclasses` wants them, made when somebody asks."""

    def __get__(self, instance: object, cls: Any) -> Any:
        import dataclasses

        known = cls.__frozen_fields__
        content: dict[str, Any] = {"__annotations__": {name: it.type for name, it in known.items()}, "__doc__": "…"}
        for name, it in known.items():
            given = {"default": it.default, "default_factory": it.default_factory}
            options = {option: getattr(it, option) for option in ("init", "repr", "compare", "kw_only")}
            content[name] = dataclasses.field(**{n: v for n, v in given.items() if v is not _MISSING}, **options)
        decorate = dataclasses.dataclass(init=False, repr=False, eq=False)
        made = decorate(type(cls.__name__, (), content)).__dataclass_fields__  # type: ignore[attr-defined]
        cls.__dataclass_fields__ = made
        return made


def _initialise(self: Any, /, *given: Any, **known: Any) -> None:
    """Set the fields, in their order. Raises TypeError for arguments that are not those of the class."""
    cls, values = self.__class__, self.__dict__
    if given:
        known.update(_by_name(cls, given, known))
    for name, it in cls.__frozen_fields__.items():
        if name in known and it.init:
            values[name] = known.pop(name)
        elif it.default is not _MISSING:
            values[name] = it.default
        elif it.default_factory is not _MISSING:
            values[name] = it.default_factory()
        elif it.init:
            raise TypeError(f"{cls.__qualname__}() lacks the argument {name!r}")
    if known:
        raise TypeError(f"{cls.__qualname__}() takes no argument {next(iter(known))!r}")
    if hasattr(cls, "__post_init__"):
        self.__post_init__()


def _by_name(cls: type[Any], given: tuple[Any, ...], known: dict[str, Any]) -> dict[str, Any]:
    names = cls.__match_args__
    if len(given) > len(names):
        raise TypeError(f"{cls.__qualname__}() takes {len(names)} positional arguments, got {len(given)}")
    found = dict(zip(names, given, strict=False))
    if twice := found.keys() & known.keys():
        raise TypeError(f"{cls.__qualname__}() got {min(twice)!r} twice")
    return found


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name, it in value.__frozen_fields__.items() if it.compare)


def _equal(self: Any, other: Any) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, it in self.__frozen_fields__.items() if it.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _set_once(self: Any, name: str, value: Any) -> None:
    """Let ``__post_init__`` set a field that has no value yet, and nobody anything else."""
    if name in self.__dict__ or name not in self.__frozen_fields__:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _keep(self: Any, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {
    "__init__": _initialise,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _set_once,
    "__delattr__": _keep,
}
