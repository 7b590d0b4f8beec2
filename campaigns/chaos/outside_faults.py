"""Faults outside of the service: of the network, of Amazon, and what people do."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from campaigns.chaos.administrator import MAPPING, Destination
from campaigns.chaos.faults import instant, lasting, send
from campaigns.chaos.scene import Scene
from campaigns.chaos.stage import Process
from tests.commands.test_monitoring_port import ports_of
from tests.crashes.evidence import Stop
from tests.pipeline.tcp_proxy import Cut

LATENCY_S = 0.12
REFRESH_BEGINS_S = 6.0


# -- The network ---------------------------------------------------------------------------------


@instant
async def cut(scene: Scene, role: str, message: bytes, which: int, *, towards_client: bool) -> None:
    """The connection to the database is cut when one of the next of these messages passes."""
    scene.stage.proxies[role].cuts.append(Cut(message, towards_client, 1 + which % 4))


@instant
async def reset(scene: Scene, name: str) -> None:
    """All connections of a way are reset."""
    scene.stage.proxies[name].reset()


@lasting
async def slow(
    scene: Scene, *names: str, latency: float = 0.0, drip: int | None = None
) -> AsyncIterator[None]:
    """A way has a latency, or passes so few bytes a second."""
    proxies = [scene.stage.proxies[name] for name in names]
    if "amazon" in names:
        scene.transit = max(scene.transit, 2 * latency)
    for proxy in proxies:
        proxy.latency, proxy.drip = latency, drip
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.latency, proxy.drip = 0.0, None


@lasting
async def silent(
    scene: Scene, *names: str, open_only: bool = False, worker: int | None = None
) -> AsyncIterator[None]:
    """A way passes nothing on, or only the open connections do not, or only those of a worker."""
    proxies = [scene.stage.proxies[name] for name in names]
    clients = None if worker is None else _ports(scene.stage.workers[worker])
    for proxy in proxies:
        if open_only or clients is not None:
            proxy.stall_open(clients)
        else:
            proxy.stall()
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.heal()


def _ports(worker: Process) -> set[int]:
    """Return the local ports of a process's connections."""
    assert worker.running is not None
    return ports_of(worker.running.pid, ".*")


@instant
async def silent_connection(scene: Scene, role: str, application: str, which: int) -> None:
    """One connection to the database passes nothing on until the stage is healed.

    The application `lease` stands for the session that holds the advisory locks of a worker's lanes.
    """
    chosen = (
        "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid::int8 = 7311)"
        if application == "lease"
        else f"application_name LIKE '{application}'"
    )
    rows = await scene.stage.ask(
        f"SELECT client_port AS port FROM pg_stat_activity WHERE {chosen} "
        "AND datname = current_database() ORDER BY pid"
    )
    ports = [row["port"] for row in rows]
    start = which % max(1, len(ports))
    if any(map(scene.stage.proxies[role].stall_one, ports[start:] + ports[:start])) and role == "worker":
        # Which worker it was is not known from outside: every lane may have to move.
        scene.touched |= {one.advertiser for one in scene.destinations}


# -- Amazon and the ops team ---------------------------------------------------------------------


@lasting
async def of_amazon(
    scene: Scene, *faults: Mapping[str, Any], touched: int | None = None, which: int | None = None
) -> AsyncIterator[None]:
    """Amazon has faults for the first destinations, for the advertiser of one, or for all."""
    targets = ["*"]
    if which is not None:
        targets = [scene.chosen(which).advertiser]
    elif touched is not None:
        targets = [each.advertiser for each in scene.touch(touched)]
    for target in targets:
        await scene.add_faults(target, *faults)
    try:
        yield
    finally:
        for target in targets:
            await scene.remove_faults(target, *faults)


@lasting
async def without_tokens(scene: Scene, fault_of_tokens: Mapping[str, Any]) -> AsyncIterator[None]:
    """All access tokens have expired, and the token endpoint has a fault."""
    async with of_amazon(fault_of_tokens)(scene):
        await scene.stage.ask("UPDATE sign_ins SET access_until = now() - interval '1 second'")
        yield


@lasting
async def killed_in_refresh(scene: Scene, which: int) -> AsyncIterator[None]:
    """Kill the worker that refreshes a token; its lease of the refresh outlives it."""
    destination = scene.chosen(which)
    scene.touched.add(destination.advertiser)
    slow = {"kind": "401", "times": 1}, {"kind": "token_slow", "ms": 5_000}
    async with of_amazon(*slow, which=which)(scene):
        send(await _refreshing(scene, destination), signal.SIGKILL)
        yield


async def _refreshing(scene: Scene, destination: Destination) -> Sequence[int]:
    """Wait for the worker that refreshes the token of this destination; nothing if no worker does."""
    query = (
        "SELECT refresh_owner FROM sign_ins WHERE destination = $1 AND refresh_owner IS NOT NULL "
        "AND refresh_until > clock_timestamp()"
    )
    until = time.monotonic() + REFRESH_BEGINS_S
    while time.monotonic() < until:
        for row in await scene.stage.ask(query, destination.number):
            for worker in scene.stage.workers:
                if worker.running is not None and f"-{worker.running.pid}-" in row["refresh_owner"]:
                    return [worker.running.pid]
        await asyncio.sleep(0.05)
    return []


@lasting
async def pause(scene: Scene, which: int) -> AsyncIterator[None]:
    """Somebody pauses a destination, and resumes it."""
    destination = scene.chosen(which)
    resume = f"{destination.path}/resume"
    async with _stopped(scene, destination, "pause", lambda: scene.operator.ask("POST", resume)):
        yield


@lasting
async def disconnect(scene: Scene, which: int) -> AsyncIterator[None]:
    """Somebody disconnects a destination, and signs in again."""
    destination = scene.chosen(which)
    async with _stopped(scene, destination, "disconnect", lambda: scene.operator.sign_in(destination)):
        yield


@asynccontextmanager
async def _stopped(
    scene: Scene, destination: Destination, action: str, end: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """Nothing is sent of a destination; the judge gets to know when."""
    async with scene.turn(action, destination):
        answer = await scene.operator.ask("POST", f"{destination.path}/{action}")
        since = time.time()
        yield
        until = time.time()
        await end()
    if answer.status_code == 200:
        # All events that were offered to the destination so far, and those that the run still offers to it.
        ids = scene.caller.ledger.ids_of(destination.number)
        scene.stops.append(Stop(f"a {action}", destination.advertiser, ids, since, until))


@lasting
async def revoke(scene: Scene, which: int) -> AsyncIterator[None]:
    """Every sign-in of the advertiser is dead; a while later a person signs in anew."""
    advertiser = scene.chosen(which).advertiser
    async with of_amazon({"kind": "revoked"}, which=which)(scene):
        yield
        for destination in scene.destinations:
            if destination.advertiser == advertiser:
                async with scene.turn("disconnect", destination):
                    await scene.operator.sign_in(destination)


@instant
async def publish(scene: Scene, which: int) -> None:
    """New events are converted otherwise from now on; those stored keep their bytes."""
    destination = scene.chosen(which)
    path = f"{destination.path}/mappings/{destination.mapping}"
    fields = MAPPING["custom_data"] if which % 2 else []
    extra = {"name": f"version_{which}", "path": "event.properties.brand"}
    await scene.operator.ask("PATCH", path, json={"custom_data": [*fields, extra]})
    await scene.operator.ask("POST", f"{path}/publish")
