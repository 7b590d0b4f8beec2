"""Find the differences between two documents: the path of each member, and its value before and after."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """A member whose value differs. The value of an absent member is None."""

    path: str
    before: Any
    after: Any


def differences(before: Any, after: Any, parent: str = "") -> Iterator[Difference]:
    """Yield the members that differ, in the order of `after`. Members that only `before` has come last."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*after, *(name for name in before if name not in after)]:
            path = f"{parent}.{name}" if parent else str(name)
            yield from differences(before.get(name), after.get(name), path)
    elif _is_list(before) and _is_list(after):
        for place, (old, new) in enumerate(zip_longest(before, after)):
            yield from differences(old, new, f"{parent}[{place}]")
    elif before != after:
        yield Difference(parent, before, after)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
