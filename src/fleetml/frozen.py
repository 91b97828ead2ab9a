"""``@frozen``: ``dataclasses.dataclass(frozen=True)`` that is cheap to define.

That one compiles six methods for each class, and the engine has more than sixty classes: a run of cache hits spent a
quarter of its time there. Here only ``__init__`` is compiled and the others are shared by all classes. `field`, `fields`,
`replace`, `asdict` and ``match`` know no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
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
    made = dataclass(repr=False, eq=False, kw_only=kw_only)(cls)
    for name, method in _SHARED.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


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
    """Let ``__init__`` set each field, and nobody anything else."""
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _keep(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _set_once,
    "__delattr__": _keep,
}
