"""Measures memory and recovery after kill -9 with a million waiting events.

One post is stored; its batch is then copied, encrypted under a new key each time. So valid batches exist
within seconds.
"""

import asyncio
import signal
import time
import urllib.request

import asyncpg

from app.crypto import Vault, open_batch, seal_batch
from app.domain.batch import pack
from app.domain.ids import BatchId
from app.store import PipelineConnection, batches, flush
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
    vault = Vault(running.settings.named_keys)
    rows = []
    for events in sizes:
        asyncio.run(_wait(running, pipeline, vault, events))
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
        request = urllib.request.Request(
            f"http://127.0.0.1:{running.settings.port}/destinations", headers={"X-Api-Key": running.key}
        )
        urllib.request.urlopen(request, timeout=60).close()


async def _wait(running: Stage, pipeline: Pipeline, vault: Vault, events: int) -> None:
    """Delete all batches and store this number of waiting events."""
    connection = await asyncpg.connect(running.dsn)
    try:
        await connection.execute("TRUNCATE batches, batch_states, exceptions, attempts, counts")
        await asyncio.to_thread(pipeline.run, FULL, FULL, 1, connections=1, deliver=False)
        destination = await connection.fetchval("SELECT destination FROM batch_states")
        await multiply(connection, vault, destination, times=events // FULL)
        await connection.execute("UPDATE counts SET accepted = $1 WHERE accepted > 0", events // FULL * FULL)
        await connection.execute("VACUUM ANALYZE batches, batch_states")
    finally:
        await connection.close()


async def multiply(connection: PipelineConnection, vault: Vault, destination: int, *, times: int) -> None:
    """Copy the only batch of a destination this many times, each with its own id and key."""
    made = await connection.fetchrow(
        "SELECT * FROM batches p JOIN batch_states s ON s.batch = p.id WHERE s.destination = $1",
        destination,
    )
    assert made is not None
    bodies = open_batch(BatchId(made["id"]), made["data_key"], made["content"], vault)
    assert bodies is not None
    plain = pack(list(bodies.items()))
    for start in range(1, times, AT_ONCE):
        ids = await batches.reserve_ids(connection, min(AT_ONCE, times - start))
        await flush.append(connection, [_again(vault, made, plain, one) for one in ids])


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
