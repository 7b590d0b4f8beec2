"""Compare two documents: whether they say the same, and which members differ."""

from collections.abc import Iterator
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
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*after, *(name for name in before if name not in after)]:
            path = f"{parent}.{name}" if parent else str(name)
            if name in before and name in after:
                yield from differences(before[name], after[name], path)
            else:
                yield Difference(path, before.get(name), after.get(name))
    elif _is_list(before) and _is_list(after):
        for place, (old, new) in enumerate(zip_longest(before, after)):
            yield from differences(old, new, f"{parent}[{place}]")
    elif not is_same(before, after):
        yield Difference(parent, before, after)


def is_same(before: Any, after: Any) -> bool:
    """Return whether two documents say the same. Python calls True and 1 equal, which JSON does not."""
    # An abstract class would make this ten times as slow: each read of a mapping compares its documents.
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(is_same(before[name], after[name]) for name in before)
    if _is_list(before) and _is_list(after):
        return len(before) == len(after) and all(map(is_same, before, after))
    return before == after and isinstance(before, bool) is isinstance(after, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
