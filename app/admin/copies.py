"""Copy the members that two types share."""

from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def copied(type_: type[T], source: object, **members: Any) -> T:
    """Return a value of a dataclass with these members; all others are those of `source`."""
    names = [each.name for each in fields(type_) if each.name not in members]  # type: ignore[arg-type]
    return type_(**{name: getattr(source, name) for name in names}, **members)
