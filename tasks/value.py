"""Value: frozen records that cost nothing to define, because every start defines dozens.

In place of ``@dataclass(frozen=True, slots=True, kw_only=True)``, whose import and generated code
took a third of a start (docs/decisions/0006). Type checkers see a dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda found: found


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _ValueType(type):
    """Makes slots of a class's annotations and keeps their defaults aside."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], *, kw_only: bool = True
    ) -> Any:
        names = tuple(body.get("__annotations__", ()))
        defaults = {each: body.pop(each) for each in names if each in body}
        body["__slots__"] = body["__match_args__"] = names
        made: Any = super().__new__(cls, name, bases, body)
        made._setters = {each: made.__dict__[each].__set__ for each in names}
        made._defaults, made._kw_only = defaults, kw_only
        return made


class Value(metaclass=_ValueType):
    """A record: its annotations are its fields, by keyword unless ``kw_only=False`` is given to
    the class, with defaults that are never changed. A subclass adds no fields to a record.

    ``__post_init__`` may refuse what the fields hold. Raises: TypeError for a missing, unknown or
    doubled field, AttributeError for a change.
    """

    if TYPE_CHECKING:
        _setters: ClassVar[dict[str, Callable[[Any, Any], None]]]
        _defaults: ClassVar[dict[str, Any]]
        _kw_only: ClassVar[bool]

    def __init__(self, *values: Any, **given: Any) -> None:
        setters = self._setters
        if values:
            if self._kw_only or len(values) > len(setters):
                raise TypeError(f"{type(self).__name__} takes its fields by name")
            for name, value in zip(setters, values, strict=False):
                if name in given:
                    raise TypeError(f"{type(self).__name__} was given {name!r} twice")
                given[name] = value
        if len(given) != len(setters):
            given = self._defaults | given
        try:
            for name, assign in setters.items():
                assign(self, given[name])
        except KeyError as error:
            raise TypeError(f"{type(self).__name__} lacks {error}") from None
        if len(given) != len(setters):
            unknown = ", ".join(given.keys() - setters.keys())
            raise TypeError(f"{type(self).__name__} has no {unknown}")
        self.__post_init__()

    def __post_init__(self) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be taken away")

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, in the order of the class."""
        return {name: getattr(self, name) for name in self._setters}

    def replacing(self, **changes: Any) -> Self:
        """The same record but for some fields."""
        return type(self)(**(self.as_dict() | changes))

    def _key(self) -> tuple[Any, ...]:
        """What makes two records of one class equal."""
        return tuple(getattr(self, name) for name in self._setters)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._setters)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.as_dict())


def _rebuilt(kind: Any, fields: dict[str, Any]) -> Any:
    return kind(**fields)
