"""Long computations outside the event loop.

While the loop computes, the process answers no other request. So a computation that may take more than some
20 ms of CPU runs in a thread, after its inputs were read and its transaction has ended.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from app.domain.ids import OrganisationId

P = ParamSpec("P")
R = TypeVar("R")


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "computation")


@dataclass(slots=True)
class ComputationThread:
    """The thread for the long computations of a process.

    There is one thread: each further thread would take time slices of 5 ms from the event loop. An
    organisation has at most one computation in the queue, so the computations of one organisation delay
    those of another by at most one computation each.
    """

    _executor: ThreadPoolExecutor = field(default_factory=_thread)
    _turns: WeakValueDictionary[OrganisationId, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def run(
        self, organisation: OrganisationId, function: Callable[P, R], *args: P.args, **named: P.kwargs
    ) -> R:
        """Return the function's result. The function must not use objects that the event loop changes."""
        turn = self._turns.setdefault(organisation, asyncio.Lock())
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, partial(function, *args, **named)
            )
