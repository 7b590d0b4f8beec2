"""What a million waiting costs the processes: memory of API and worker, and recovery after kill -9.

One post is stored as usual; its batch is then sealed again, under keys of its own each time, as often as it
takes. So what waits is real to the worker, and is there in seconds.
"""

import asyncio
import signal
import time
import urllib.request

import asyncpg

from app.crypto import Vault, batch_place, decrypt, encrypt, new_data_key
from app.domain.ids import BatchId
from app.store import PipelineConnection, batches, flush
from bench.report import MIB, table
from bench.road import Road
from bench.stage import Stage

FULL = 500
AT_ONCE = 500  # batches a transaction
DRAINED = 0.3  # of a large backlog, before the worker is killed

HEAD = (
    "waiting", "API MB", "API MB, highest", "worker MB, highest", "start to first request s",
    "kill -9 to first request s", "requests in the next 5 s",
)  # fmt: skip


def run(running: Stage, road: Road, *, sizes: tuple[int, ...]) -> None:
    """Print memory and recovery with each of these numbers of events waiting, none of them sent before."""
    if "worker" in running.processes:
        running.end("worker")
    road.connect(1)
    vault = Vault(running.settings.named_keys)
    rows = []
    for events in sizes:
        asyncio.run(_wait(running, road, vault, events))
        rows.append(_measured(running, events))
    print("## Memory, and recovery after kill -9\n")
    print(table(HEAD, rows), flush=True)


def _measured(running: Stage, events: int) -> tuple[object, ...]:
    running.told("/_log")
    _ask_api(running)
    started = _until_first(running)
    running.told("/_log")
    if events > 100_000:
        while int(running.told("/_count")) < events * DRAINED:
            time.sleep(0.05)
    before = running.resident()
    worker = running.processes.pop("worker")
    worker.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    worker.wait()
    running.told("/_log")
    _until_first(running)
    recovered = time.monotonic() - killed
    seen = int(running.told("/_count"))
    time.sleep(5)
    after = (int(running.told("/_count")) - seen) / FULL
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
    while int(running.told("/_count")) == 0:
        if time.monotonic() - began > 60:
            raise TimeoutError("the worker sends nothing")
        time.sleep(0.005)
    return time.monotonic() - began


def _ask_api(running: Stage) -> None:
    """Let the API look at what waits, as the console does."""
    for _ in range(20):
        request = urllib.request.Request(
            f"http://127.0.0.1:{running.settings.port}/destinations", headers={"X-Api-Key": running.key}
        )
        urllib.request.urlopen(request, timeout=60).close()


async def _wait(running: Stage, road: Road, vault: Vault, events: int) -> None:
    """Empty the road, and let this many events wait on it."""
    connection = await asyncpg.connect(running.dsn)
    try:
        await connection.execute("TRUNCATE batches, batch_states, exceptions, attempts, counts")
        await asyncio.to_thread(road.run, FULL, FULL, 1, connections=1, deliver=False)
        destination = await connection.fetchval("SELECT destination FROM batch_states")
        await multiply(connection, vault, destination, times=events // FULL)
        await connection.execute("UPDATE counts SET accepted = $1 WHERE accepted > 0", events // FULL * FULL)
        await connection.execute("VACUUM ANALYZE batches, batch_states")
    finally:
        await connection.close()


async def multiply(connection: PipelineConnection, vault: Vault, destination: int, *, times: int) -> None:
    """Let the one batch of a destination wait that many times, each under an id and a key of its own."""
    made = await connection.fetchrow(
        "SELECT * FROM batches p JOIN batch_states s ON s.batch = p.id WHERE s.destination = $1",
        destination,
    )
    assert made is not None
    place = batch_place(BatchId(made["id"]))
    plain = decrypt(vault.open(made["data_key"], place=place), made["content"], place=place)
    for start in range(1, times, AT_ONCE):
        ids = await batches.reserve_ids(connection, min(AT_ONCE, times - start))
        await flush.append(connection, [_again(vault, made, plain, one) for one in ids])


def _again(vault: Vault, made: asyncpg.Record, plain: bytes, batch: BatchId) -> batches.NewBatch:
    data_key, place = new_data_key(), batch_place(batch)
    return batches.NewBatch(
        id=batch,
        destination=made["destination"],
        content=encrypt(data_key, plain, place=place),
        shapes=made["shapes"],
        events=made["events"],
        size=made["bytes"],
        first_event=made["first_event"],
        last_event=made["last_event"],
        data_key=vault.seal(data_key, place=place),
    )
