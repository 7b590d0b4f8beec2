"""Differences between two documents: each member by path, with its value before and after."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

ABSENT: Final = None


class Difference(NamedTuple):
    """One member that differs. None stands for an absent member."""

    path: str
    before: Any
    after: Any


def differences(before: Any, after: Any, parent: str = "") -> Iterator[Difference]:
    """Yield the differences in the order of `after`, then members that it lacks; recurses only into two
    objects.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*after, *(name for name in before if name not in after)]:
            path = f"{parent}.{name}" if parent else str(name)
            yield from differences(before.get(name), after.get(name), path)
    elif _is_list(before) and _is_list(after):
        for place in range(max(len(before), len(after))):
            yield from differences(_member(before, place), _member(after, place), f"{parent}[{place}]")
    elif before != after:
        yield Difference(parent, before, after)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _member(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else ABSENT
