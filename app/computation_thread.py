"""A thread for computations outside the event loop, with a stack for the deepest JSON."""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

# msgspec's decoder takes up to 4 MiB before it refuses the depth. By `ulimit -s` a thread may have 2 MiB.
_STACK_BYTES: Final = 16 * 1024 * 1024
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class ComputationThread:
    """A thread that runs one computation at a time.

    While the event loop computes, the process answers no other request. So a computation that may take more
    than some 20 ms of CPU runs here, after its inputs were read and its transaction has ended. Each thread of
    a process that computes takes time slices of 5 ms from the event loop.

    An owner, such as an organisation, has at most one computation in the queue, so the computations of one
    owner delay those of another by at most one computation each.
    """

    _executor: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "computation"))
    _turns: WeakValueDictionary[Hashable, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def run(self, owner: Hashable, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Return the function's result. The function must not use objects that the event loop changes."""
        results: list[R] = []  # a future would keep its result until the next garbage collection
        async with self._turns.setdefault(owner, asyncio.Lock()):
            before = threading.stack_size(_STACK_BYTES)  # the first computation starts the thread
            computation = asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: results.append(function(*args, **named))
            )
            threading.stack_size(before)
            await computation
        return results.pop()
