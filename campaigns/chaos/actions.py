"""What goes wrong: each act of a schedule, done to the stage or asked of the operator."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from campaigns.chaos.administrator import MAPPING, Administrator, Destination
from campaigns.chaos.schedule import FAULTS, Step
from campaigns.chaos.stage import Installation, Process
from tests.crashes.evidence import Stop
from tests.pipeline.tcp_proxy import COMMIT_ANSWER, COMMIT_ASKED, INSERT_ANSWER, Cut

LATENCY_S = 0.12
DRIP = 20_000  # bytes a second
LEASE_S = 60.0
REFRESH_BEGINS_S = 6.0


@dataclass
class Troubles:
    """Does the acts of one run, and notes what the judge must know about them."""

    stage: Installation
    operator: Administrator
    destinations: list[Destination]
    ids: list[frozenset[str]]
    poison: dict[str, list[dict[str, Any]]]
    stops: list[Stop] = field(default_factory=list)
    turns: dict[tuple[str, int], asyncio.Lock] = field(default_factory=dict)
    faults: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    transit: float = 0.0
    moving: set[str] = field(default_factory=set)  # advertisers that wait for the lease of a dead process

    async def do(self, step: Step) -> None:
        """Do one act; returns when it is over."""
        await ACTIONS[step.action](self, step)

    async def end(self) -> None:
        """Let every destination send again."""
        self.faults.clear()
        await self.operator.faults("*", [])
        await self.stage.heal()
        for destination in self.destinations:
            await self.operator.ask("POST", f"{destination.path}/resume")
            if await self.operator.state(destination) in {"needs_reconnect", "draft"}:
                await self.operator.sign_in(destination)

    # -- processes --------------------------------------------------------------------------------

    async def signal(self, group: list[Process], step: Step, number: int) -> None:
        process = group[step.which % len(group)]
        process.signal(number)
        if number == signal.SIGSTOP:
            try:
                await asyncio.sleep(step.lasts)
            finally:
                process.signal(signal.SIGCONT)

    async def backend(self, step: Step, number: int) -> None:
        pids = await self.stage.backends()
        if not pids:
            return
        pid = pids[step.which % len(pids)]
        if number == signal.SIGSTOP:
            await self.stage.stop_postgres([pid], step.lasts)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def end_backends(self, step: Step) -> None:
        await self.stage.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'conversions%' AND datname = current_database()"
        )

    async def kill_postmaster(self, step: Step) -> None:
        await self.stage.kill_postmaster()

    async def stop_postmaster(self, step: Step) -> None:
        await self.stage.stop_postgres(self.stage.postmaster(), step.lasts)

    async def drop_flush_functions(self, step: Step) -> None:
        """Drop the function of every session that flushes, as a pooler does that discards sessions."""
        functions = await self.stage.ask(
            "SELECT p.oid::regprocedure::text AS name FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname LIKE 'pg\\_temp\\_%'"
        )
        for function in functions:
            with contextlib.suppress(asyncpg.PostgresError):  # the session has just ended
                await self.stage.ask(f"DROP FUNCTION {function['name']}")

    async def kill_in_refresh(self, step: Step) -> None:
        """Kill the worker that refreshes a token; its lease of the refresh outlives it."""
        destination = self.destinations[step.which % len(self.destinations)]
        self.moving.add(destination.advertiser)
        faults = [{"kind": "401", "times": 1}, {"kind": "token_slow", "ms": 5_000}]
        await self.operator.faults(destination.advertiser, faults)
        try:
            if (worker := await self._refreshing(destination)) is not None:
                worker.signal(signal.SIGKILL)
        finally:
            await self.operator.faults(destination.advertiser, [])

    async def _refreshing(self, destination: Destination) -> Process | None:
        """Wait for the worker that refreshes the token of this destination; None if no worker does."""
        query = (
            "SELECT refresh_owner FROM sign_ins WHERE destination = $1 AND refresh_owner IS NOT NULL "
            "AND refresh_until > clock_timestamp()"
        )
        until = time.monotonic() + REFRESH_BEGINS_S
        while time.monotonic() < until:
            for row in await self.stage.ask(query, destination.number):
                for worker in self.stage.workers:
                    if worker.running is not None and f"-{worker.running.pid}-" in row["refresh_owner"]:
                        return worker
            await asyncio.sleep(0.05)
        return None

    # -- wires ------------------------------------------------------------------------------------

    async def cut(self, step: Step, message: bytes, *, towards_client: bool) -> None:
        self.stage.to_database[step.how].cuts.append(Cut(message, towards_client, 1 + step.which % 4))

    async def database(self, step: Step, trouble: str) -> None:
        await self._wire(self.stage.to_database[step.how], step, trouble)

    async def amazon_wire(self, step: Step, trouble: str) -> None:
        if trouble == "slow":
            self.transit = max(self.transit, 2 * LATENCY_S)
        await self._wire(self.stage.to_amazon, step, trouble)

    async def _wire(self, proxy: Any, step: Step, trouble: str) -> None:
        match trouble:
            case "reset":
                proxy.reset()
            case "slow":
                proxy.latency = LATENCY_S
                await asyncio.sleep(step.lasts)
                proxy.latency = 0.0
            case "drip":
                proxy.drip = DRIP
                await asyncio.sleep(step.lasts)
                proxy.drip = None
            case "half-open":
                proxy.stall()
                await asyncio.sleep(step.lasts)
                proxy.heal()

    # -- Amazon and people ------------------------------------------------------------------------

    async def amazon(self, step: Step) -> None:
        mine = (id(step), {**FAULTS[step.how], "seed": step.which})
        self.faults.append(mine)
        await self._set_faults()
        await asyncio.sleep(step.lasts)
        if mine in self.faults:
            self.faults.remove(mine)
            await self._set_faults()

    async def _set_faults(self) -> None:
        await self.operator.faults("*", [fault for _, fault in self.faults])

    async def pause(self, step: Step) -> None:
        index = step.which % len(self.destinations)
        destination = self.destinations[index]
        async with self._turn("pause", index):
            answer = await self.operator.ask("POST", f"{destination.path}/pause")
            since = time.time()
            await asyncio.sleep(step.lasts)
            until = time.time()
            await self.operator.ask("POST", f"{destination.path}/resume")
        if answer.status_code == 200:
            self.stops.append(Stop("a pause", destination.advertiser, self.ids[index], since, until))

    def _turn(self, action: str, index: int) -> asyncio.Lock:
        """Return what keeps an act on a destination from ending another one of its kind before its time."""
        return self.turns.setdefault((action, index), asyncio.Lock())

    async def disconnect(self, step: Step) -> None:
        index = step.which % len(self.destinations)
        destination = self.destinations[index]
        async with self._turn("disconnect", index):
            answer = await self.operator.ask("POST", f"{destination.path}/disconnect")
            since = time.time()
            await asyncio.sleep(step.lasts)
            until = time.time()
            await self.operator.sign_in(destination)
        if answer.status_code == 200:
            self.stops.append(Stop("a disconnect", destination.advertiser, self.ids[index], since, until))

    async def revoke(self, step: Step) -> None:
        """Every sign-in of the advertiser is dead; a while later a person signs in anew."""
        advertiser = self.destinations[step.which % len(self.destinations)].advertiser
        await self.operator.faults(advertiser, [*self.poison.get(advertiser, []), {"kind": "revoked"}])
        await asyncio.sleep(step.lasts)
        for index, destination in enumerate(self.destinations):
            if destination.advertiser == advertiser:
                async with self._turn("disconnect", index):
                    await self.operator.sign_in(destination)

    async def publish(self, step: Step) -> None:
        """New events are converted otherwise from now on; those stored keep their bytes."""
        destination = self.destinations[step.which % len(self.destinations)]
        path = f"{destination.path}/mappings/{destination.mapping}"
        fields = MAPPING["custom_data"] if step.which % 2 else []
        extra = {"name": f"version_{step.which}", "path": "event.properties.brand"}
        await self.operator.ask("PATCH", path, json={"custom_data": [*fields, extra]})
        await self.operator.ask("POST", f"{path}/publish")


Act = Callable[[Troubles, Step], Awaitable[None]]

ACTIONS: Mapping[str, Act] = {
    "kill an API": lambda t, s: t.signal(t.stage.apis, s, signal.SIGKILL),
    "kill a worker": lambda t, s: t.signal(t.stage.workers, s, signal.SIGKILL),
    "stop an API": lambda t, s: t.signal(t.stage.apis, s, signal.SIGSTOP),
    "stop a worker": lambda t, s: t.signal(t.stage.workers, s, signal.SIGSTOP),
    "stop a worker past its lease": lambda t, s: t.signal(t.stage.workers, s, signal.SIGSTOP),
    "restart an API in good order": lambda t, s: t.signal(t.stage.apis, s, signal.SIGTERM),
    "restart a worker in good order": lambda t, s: t.signal(t.stage.workers, s, signal.SIGTERM),
    "kill a backend": lambda t, s: t.backend(s, signal.SIGKILL),
    "stop a backend": lambda t, s: t.backend(s, signal.SIGSTOP),
    "end all backends": Troubles.end_backends,
    "kill the postmaster": Troubles.kill_postmaster,
    "stop the postmaster": Troubles.stop_postmaster,
    "lose a COMMIT's answer": lambda t, s: t.cut(s, COMMIT_ANSWER, towards_client=True),
    "lose a COMMIT": lambda t, s: t.cut(s, COMMIT_ASKED, towards_client=False),
    "lose an INSERT's answer": lambda t, s: t.cut(s, INSERT_ANSWER, towards_client=True),
    "reset the database's connections": lambda t, s: t.database(s, "reset"),
    "slow the database's connections": lambda t, s: t.database(s, "slow"),
    "leave the database half-open": lambda t, s: t.database(s, "half-open"),
    "reset Amazon's connections": lambda t, s: t.amazon_wire(s, "reset"),
    "slow Amazon's connections": lambda t, s: t.amazon_wire(s, "slow"),
    "drip Amazon's connections": lambda t, s: t.amazon_wire(s, "drip"),
    "leave Amazon half-open": lambda t, s: t.amazon_wire(s, "half-open"),
    "Amazon": Troubles.amazon,
    "drop the functions of flushes": Troubles.drop_flush_functions,
    "kill a worker that refreshes a token": Troubles.kill_in_refresh,
    "pause and resume": Troubles.pause,
    "revoke and reconnect": Troubles.revoke,
    "disconnect and reconnect": Troubles.disconnect,
    "publish another version": Troubles.publish,
}
