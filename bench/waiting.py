"""Measures memory and recovery after kill -9 with a million waiting events.

One post is stored; its batch is then copied, encrypted under a new key each time. So valid batches exist
within seconds.
"""

import asyncio
import signal
import time

import asyncpg

from app.crypto import Vault, open_batch, seal_batch
from app.domain.batch import pack
from app.domain.ids import BatchId
from app.store import batches, flush
from bench.events import bodies
from bench.pipeline import Pipeline
from bench.report import MIB, table
from bench.stage import Stage

FULL = 500
AT_ONCE = 500  # batches a transaction
DRAINED = 0.3  # of a large backlog, before the worker is killed

HEAD = (
    "waiting", "API MB", "API MB, highest", "worker MB, highest", "start to first request s",
    "kill -9 to first request s", "requests in the next 5 s",
)  # fmt: skip


def run(running: Stage, pipeline: Pipeline, *, sizes: tuple[int, ...]) -> None:
    """Print memory and recovery for each number of waiting events."""
    if "worker" in running.processes:
        running.end("worker")
    pipeline.connect(1)
    rows = []
    for events in sizes:
        asyncio.run(_wait(running, pipeline.destinations[0], events))
        rows.append(_measured(running, events))
    print("## Memory, and recovery after kill -9\n")
    print(table(HEAD, rows), flush=True)


def _measured(running: Stage, events: int) -> tuple[object, ...]:
    running.fetch("/_log")
    _ask_api(running)
    started = _until_first(running)
    running.fetch("/_log")
    if events > 100_000:
        while int(running.fetch("/_count")) < events * DRAINED:
            time.sleep(0.05)
    before = running.resident()
    worker = running.processes.pop("worker")
    worker.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    worker.wait()
    running.fetch("/_log")
    _until_first(running)
    recovered = time.monotonic() - killed
    seen = int(running.fetch("/_count"))
    time.sleep(5)
    after = (int(running.fetch("/_count")) - seen) / FULL
    resident = running.resident()
    running.end("worker")
    return (
        f"{events:,}",
        resident["api"] / MIB,
        resident["api peak"] / MIB,
        max(before["worker peak"], resident["worker peak"]) / MIB,
        started,
        recovered,
        after,
    )


def _until_first(running: Stage) -> float:
    """Start a worker; return the seconds until its first request arrives."""
    began = time.monotonic()
    running.start_worker()
    while int(running.fetch("/_count")) == 0:
        if time.monotonic() - began > 60:
            raise TimeoutError("the worker sends nothing")
        time.sleep(0.005)
    return time.monotonic() - began


def _ask_api(running: Stage) -> None:
    """Query the API about waiting events, as the console does."""
    for _ in range(20):
        running.ask("/destinations")


async def _wait(running: Stage, destination: str, events: int) -> None:
    """Delete all batches and store this number of waiting events."""
    async with running.connected() as connection:
        await connection.execute("TRUNCATE batches, batch_states, exceptions, attempts, counts")
        await fill(running, destination, events)
        await connection.execute("UPDATE counts SET accepted = $1 WHERE accepted > 0", events // FULL * FULL)


async def fill(running: Stage, destination: str, events: int, *, key: str | None = None) -> None:
    """Let this number of events wait: post a batch, and copy it, each copy with its own id and key."""
    (body,) = bodies(f"filled-{time.time_ns()}", FULL, FULL, [destination])
    await asyncio.to_thread(running.ask, "/events", body, key=key)
    vault = Vault(running.settings.named_keys)
    async with running.connected() as connection:
        made = await connection.fetchrow(
            "SELECT * FROM batches p JOIN batch_states s ON s.batch = p.id JOIN destinations d "
            "ON d.number = s.destination WHERE d.id = $1 ORDER BY p.id DESC LIMIT 1",
            destination,
        )
        assert made is not None
        contents = open_batch(made["batch"], made["data_key"], made["content"], vault)
        assert contents is not None
        plain, times = pack(list(contents.items())), events // made["events"]
        for start in range(1, times, AT_ONCE):
            ids = await batches.reserve_ids(connection, min(AT_ONCE, times - start))
            await flush.append(connection, [_again(vault, made, plain, one) for one in ids])
        await connection.execute("VACUUM ANALYZE batches, batch_states")


def _again(vault: Vault, made: asyncpg.Record, plain: bytes, batch: BatchId) -> batches.NewBatch:
    data_key, content = seal_batch(batch, plain, vault)
    return batches.NewBatch(
        id=batch,
        destination=made["destination"],
        content=content,
        shapes=made["shapes"],
        events=made["events"],
        size=made["bytes"],
        first_event=made["first_event"],
        last_event=made["last_event"],
        data_key=data_key,
    )
