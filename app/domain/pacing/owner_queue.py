"""Order waiting work fairly among its owners: start-time fair queueing. Pure.

Work of one owner keeps its order. Each owner gets the same cost per time, regardless of its backlog: the next
item is the one with the smallest start tag, and an owner's next start tag is its last one plus the cost of
that item. Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).
"""

from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class OwnerQueue(Generic[Item]):
    """Waiting items, each with an owner and a cost greater than 0."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._next_start: dict[str | None, float] = {}
        self._virtual_time = 0.0
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, owner: str | None, cost: float, item: Item) -> None:
        """Append an item behind those of its owner."""
        start = max(self._virtual_time, self._next_start.get(owner, self._virtual_time))
        self._next_start[owner] = start + cost
        heappush(self._heap, (start, next(self._numbers), item))

    def first(self) -> Item:
        """Return the next item. Raises IndexError if none waits."""
        return self._heap[0][2]

    def pop(self) -> Item:
        """Remove and return the next item. Raises IndexError if none waits."""
        self._virtual_time, _, item = heappop(self._heap)
        if not self._heap:
            # No owner keeps an advantage or a debt over an idle moment.
            self._next_start.clear()
        return item
