"""What faults are done to: a stage, its administrator and destinations, and what judges must know of both."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaigns.chaos.administrator import Administrator, Destination
from campaigns.chaos.caller import Caller
from campaigns.chaos.stage import Installation
from tests.crashes.evidence import Stop

ERASED_WITHIN_S = 150.0
# At each step of a request httpx compares all requests with all connections. Hundreds at once would leave the
# proxies of this process, through which the service reaches its database, no time.
ERASURES_AT_ONCE = 32
Ends = Sequence[Sequence[str] | None]  # the states of an event that it may have; None: it is no longer stored


@dataclass
class Scene:
    """`touched` are the advertisers whose delivery a fault may stop or delay."""

    stage: Installation
    operator: Administrator
    caller: Caller
    destinations: list[Destination] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    stops: list[Stop] = field(default_factory=list)
    transit: float = 0.0
    excused: dict[str, Ends] = field(default_factory=dict)  # events that may end without a delivery
    erasures: list[str | None] = field(default_factory=list)  # ids, once each request is answered
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ERASURES_AT_ONCE))
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _faults: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    _turns: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    @property
    def numbers(self) -> list[str]:
        return [destination.number for destination in self.destinations]

    def chosen(self, which: int) -> Destination:
        return self.destinations[which % len(self.destinations)]

    def touch(self, number: int) -> list[Destination]:
        """Choose the first destinations to be broken."""
        self.touched |= {each.advertiser for each in self.destinations[:number]}
        return self.destinations[:number]

    def turn(self, action: str, destination: Destination) -> asyncio.Lock:
        """Return what keeps an act on a destination from ending another one of its kind before its time."""
        return self._turns.setdefault((action, destination.number), asyncio.Lock())

    async def add_faults(self, advertiser: str, *faults: Mapping[str, Any]) -> None:
        """Let Amazon have these faults too, for an advertiser or for all (`*`)."""
        self._faults.setdefault(advertiser, []).extend(faults)
        await self.operator.faults(advertiser, self._faults[advertiser])

    async def remove_faults(self, advertiser: str, *faults: Mapping[str, Any]) -> None:
        """Take faults away that were added."""
        for fault in faults:
            self._faults[advertiser].remove(fault)
        await self.operator.faults(advertiser, self._faults[advertiser])

    def erase(self, email: str) -> "asyncio.Task[None]":
        """Request the erasure of a person; return what ends with the answer."""
        place = len(self.erasures)
        self.erasures.append(None)

        async def request() -> None:
            async with self._slots:
                answer = await self.operator.ask(
                    "POST", "/subjects/erase", json={"email": email}, patience=ERASED_WITHIN_S, timeout=8
                )
            assert answer.status_code == 202, answer.text
            self.erasures[place] = answer.json()["id"]

        task = asyncio.create_task(request())
        self._tasks.add(task)
        return task

    async def drain(self, destinations: list[str], *, seconds: float) -> None:
        """Wait until nothing of these destinations and no erasure is open, or the time is over."""
        until = asyncio.get_running_loop().time() + seconds
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        await self.stage.drain(destinations, seconds=until - asyncio.get_running_loop().time())

    async def unfinished_erasures(self) -> list[str]:
        """Name the erasures that are not finished."""
        rows = await self.stage.ask("SELECT id FROM erasures WHERE finished_at IS NOT NULL")
        finished = {row["id"] for row in rows}
        return [f"erasure {place}" for place, id_ in enumerate(self.erasures) if id_ not in finished]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.operator.close()
        await self.caller.close()
