"""``@frozen``: ``dataclasses.dataclass(frozen=True)`` that is cheap to define.

That one compiles six methods for each class, and the engine has more than sixty classes: a run of cache hits spent a
third of its time there. Here all classes share them. `field`, `fields`, `replace`, `asdict` and ``match`` know no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

C = TypeVar("C")


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[C], /) -> type[C]: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool) -> Callable[[type[C]], type[C]]: ...


def frozen(cls: type[Any] | None = None, /, *, kw_only: bool = False) -> Any:
    """Make a class an immutable dataclass; what it defines itself of the shared methods stays."""
    if cls is None:
        return lambda cls: _made(cls, kw_only)
    return _made(cls, kw_only)


def _made(cls: type[Any], kw_only: bool) -> type[Any]:
    cls.__doc__ = cls.__doc__ or f"{cls.__name__}."  # or `dataclass` would make one of the signature
    made = dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    for name, method in _SHARED.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _initialise(self: Any, /, *given: Any, **known: Any) -> None:
    """Set the fields, in their order. Raises TypeError for arguments that are not those of the class."""
    cls, values = self.__class__, self.__dict__
    if given:
        known.update(_by_name(cls, given, known))
    for name, it in cls.__dataclass_fields__.items():
        if name in known and it.init:
            values[name] = known.pop(name)
        elif it.default is not MISSING:
            values[name] = it.default
        elif it.default_factory is not MISSING:
            values[name] = it.default_factory()
        elif it.init:
            raise TypeError(f"{cls.__qualname__}() lacks the argument {name!r}")
    if known:
        raise TypeError(f"{cls.__qualname__}() takes no argument {next(iter(known))!r}")
    if hasattr(cls, "__post_init__"):
        self.__post_init__()


def _by_name(cls: type[Any], given: tuple[Any, ...], known: dict[str, Any]) -> dict[str, Any]:
    names = [name for name, it in cls.__dataclass_fields__.items() if it.init and not it.kw_only]
    if len(given) > len(names):
        raise TypeError(f"{cls.__qualname__}() takes {len(names)} positional arguments, got {len(given)}")
    found = dict(zip(names, given, strict=False))
    if twice := found.keys() & known.keys():
        raise TypeError(f"{cls.__qualname__}() got {min(twice)!r} twice")
    return found


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name, it in value.__dataclass_fields__.items() if it.compare)


def _equal(self: Any, other: Any) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, it in self.__dataclass_fields__.items() if it.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _set_once(self: Any, name: str, value: Any) -> None:
    """Let ``__post_init__`` set a field that has no value yet, and nobody anything else."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _keep(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {
    "__init__": _initialise,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _set_once,
    "__delattr__": _keep,
}
