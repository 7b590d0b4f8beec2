"""Order waiting work fairly among its owners, by start-time fair queueing.

The items of an owner keep their order. Each owner gets the same amount of work per time, measured by cost,
whatever its backlog is. The next item is the item with the smallest start tag; an owner's start tag grows by
the cost of each of its items. Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).
"""

from collections import deque
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item")
Owner = str | None


class OwnerQueue(Generic[Item]):
    """Waiting items, each with an owner and a cost greater than 0."""

    def __init__(self) -> None:
        # The items by owner. Each item has its start tag and its number. Owners without an item have no
        # entry.
        self._items: dict[Owner, deque[tuple[float, int, Item]]] = {}
        self._firsts: list[tuple[float, int, Owner]] = []  # a heap of the first item of each owner
        self._next_start: dict[Owner, float] = {}
        self._virtual_time = 0.0
        self._number = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def owners(self) -> frozenset[Owner]:
        return frozenset(self._items)

    def add(self, owner: Owner, cost: float, item: Item) -> None:
        """Append an item behind the other items of its owner."""
        start = max(self._virtual_time, self._next_start.get(owner, self._virtual_time))
        self._next_start[owner] = start + cost
        self._number += 1
        self._length += 1
        items = self._items.get(owner)
        if items is None:
            items = self._items[owner] = deque()
            heappush(self._firsts, (start, self._number, owner))
        items.append((start, self._number, item))

    def cost_of(self, owner: Owner) -> float:
        """Return the cost of all items of an owner."""
        items = self._items.get(owner)
        return self._next_start[owner] - items[0][0] if items else 0.0

    def first(self, excluded: Collection[Owner] = ()) -> Item | None:
        """Return the next item of an owner that is not excluded, or None."""
        found = self._first(excluded)
        return None if found is None else self._items[found[2]][0][2]

    def pop(self, excluded: Collection[Owner] = ()) -> Item:
        """Remove and return the next item of an owner that is not excluded. Raises IndexError without one."""
        found = self._first(excluded)
        if found is None:
            raise IndexError("no item waits")
        if found is self._firsts[0]:
            heappop(self._firsts)
        else:
            self._firsts.remove(found)
            heapify(self._firsts)
        owner = found[2]
        items = self._items[owner]
        start, _, item = items.popleft()
        if items:
            heappush(self._firsts, (*items[0][:2], owner))
        else:
            del self._items[owner]
        # Time never goes back: an item that was excluded may have an earlier tag than the last item.
        self._virtual_time = max(self._virtual_time, start)
        self._length -= 1
        if not self._length:
            # When the queue becomes empty, all owners start equally again, and the tags stay bounded.
            self._next_start.clear()
        return item

    def _first(self, excluded: Collection[Owner]) -> tuple[float, int, Owner] | None:
        if not excluded:
            return self._firsts[0] if self._firsts else None
        return min((first for first in self._firsts if first[2] not in excluded), default=None)
