"""The whole product as processes: exactly once over two of each, a killed worker, no trace of a person."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.pipeline.other_amazon import OtherAmazon
from tests.pipeline.processes import ADMIN, Operator, Product
from tests.pipeline.world import event, eventually, stamp

BODY, DESTINATIONS, CLIENTS = 100, 5, 4


@pytest_asyncio.fixture
async def product(database_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    """Two API processes, two workers and the sandbox."""
    made = Product(database_url, tmp_path / "everything.log")
    try:
        made.start("sandbox", "sandbox")
        made.serve("api-1")
        made.serve("api-2")
        made.work("worker-1")
        made.work("worker-2")
        made.ready(made.api + "/health/live", made.amazon + "/_sandbox/health")
        yield made
    finally:
        await asyncio.to_thread(made.close)


@pytest_asyncio.fixture
async def operator(product: Product) -> AsyncIterator[Operator]:
    """Somebody with the admin key."""
    async with httpx.AsyncClient(timeout=30) as client:
        yield Operator(product, client)


async def sandbox_events(operator: Operator) -> list[dict[str, Any]]:
    """Return everything the sandbox accepted."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await operator.client.get(
            f"{operator.product.amazon}/_sandbox/events?limit=1000" + (f"&cursor={cursor}" if cursor else "")
        )
        page = answer.json()
        items += page["items"]
        if not page["next_cursor"]:
            return items
        cursor = page["next_cursor"]


@pytest.mark.parametrize("total", [3_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_events_arrive_exactly_once_and_once_more_with_a_worker_killed(
    product: Product, operator: Operator, total: int
) -> None:
    """5 destinations, 4 clients, 2 API and 2 worker processes; then the same with SIGKILL in the middle.

    Stats add up at every sample. After the kill, repeats are allowed for unanswered requests only, and
    only to the byte.
    """
    ids = [str(5_000_000_000 + number) for number in range(DESTINATIONS)]
    await operator.client.post(
        f"{product.amazon}/_sandbox/advertisers",
        json={"advertisers": [{"advertiser_id": one, "region": "NA", "name": one} for one in ids]},
    )
    destinations = [await operator.destination(one) for one in ids]

    async def round_of(turn: int) -> None:
        bodies = [
            [
                event(turn * total + number, destination_id=destinations[number % DESTINATIONS])
                for number in range(start, start + BODY)
            ]
            for start in range(0, total, BODY)
        ]

        half = len(bodies) // 2
        killed = asyncio.Event()
        if not turn:
            killed.set()

        async def client() -> None:
            while bodies:
                if len(bodies) <= half:
                    await killed.wait()  # so that the other worker certainly has something to deliver
                results = await operator.post(bodies.pop())
                assert {result["status"] for result in results} <= {"accepted", "duplicate"}

        async def delivered() -> int:
            return sum([(await operator.counts(one))["delivered"] for one in destinations])

        async def kill_in_the_middle() -> None:
            await eventually(lambda: _true(len(bodies) <= half), seconds=60)
            product.kill("worker-1")
            before = await delivered()
            killed.set()

            async def other_delivers() -> bool:
                return await delivered() > before

            await eventually(other_delivers, seconds=60)
            product.work("worker-1")

        actions = [client() for _ in range(CLIENTS)] + ([kill_in_the_middle()] if turn else [])
        await asyncio.gather(*actions)
        wanted = total // DESTINATIONS * (turn + 1)

        async def all_there() -> bool:
            counts = [await operator.counts(one) for one in destinations]
            return all(c["delivered"] == wanted == c["accepted"] for c in counts)

        await eventually(all_there, seconds=120, every=0.3)

    await round_of(0)
    first = await sandbox_events(operator)
    assert len(first) == total
    assert all(item["times"] == 1 for item in first)

    await round_of(1)
    both = await sandbox_events(operator)
    assert len(both) == 2 * total
    assert all(item["identical"] for item in both)
    ours = {f"ord-{number}" for number in range(2 * total)}
    assert {item["event_id"].split(":", 1)[1] for item in both} == ours


CANARY = {
    "email": "canary.quetzal@example.com",
    "phone": "+1 202 555 0173",
    "first_name": "Quetzalcoatlus",
    "last_name": "Northropicus",
}


async def test_no_clear_text_of_a_person_is_left_anywhere(
    product: Product, operator: Operator, database_url: str
) -> None:
    """Not in a dump of every row, not in a log line, not in any answer; only its hash at Amazon."""
    destination = await operator.destination("1000000001")
    canary = {
        "event_id": "canary-1",
        "destination_id": destination,
        "event": {"timestamp": stamp(), "total": 5, "brand": "Quetzal-brand-canary"},
        "user": CANARY,
    }
    broken = [
        {**canary, "event_id": "canary-2", "event": {"timestamp": [CANARY["email"]]}},
        {**canary, "event_id": CANARY["email"]},
        {**canary, "event_id": "canary-3", "event": {"timestamp": CANARY["email"]}},
        {**canary, "event_id": "canary-1", "user": {**CANARY, "first_name": "Other"}},
    ]
    answers = [str(await operator.post([canary]))]
    answers += [str(await operator.post([one])) for one in broken]
    malformed = await operator.client.post(
        product.api + "/events",
        content='{"user": {"email": "' + CANARY["email"] + '"}, "x": NaN}',
        headers={"X-Api-Key": ADMIN, "Content-Type": "application/json"},
    )
    answers.append(malformed.text)
    await eventually(lambda: _delivered(operator, destination, 1))
    for path in (
        f"/events/canary-1?destination_id={destination}",
        f"/destinations/{destination}/events",
        f"/destinations/{destination}/stats",
        "/audit",
    ):
        answers.append(str(await operator.call("GET", path)))
    answers.append((await operator.client.get(product.api + "/metrics")).text)

    dump = await _dump(database_url)
    log = product.log.read_text(errors="replace")
    secrets = [
        *CANARY.values(),
        re.sub(r"\D", "", CANARY["phone"]),
        CANARY["first_name"].lower(),
        CANARY["last_name"].lower(),
        "Quetzal-brand-canary",
    ]
    for secret in secrets:
        for place, text in (("the database", dump), ("a log line", log), ("an answer", "\n".join(answers))):
            assert secret not in text, f"{secret!r} stands in {place}"
    digest = hashlib.sha256(CANARY["email"].encode()).hexdigest()
    (sent,) = await sandbox_events(operator)
    assert sent["event"]["matchKeys"][0] == {"type": "EMAIL", "values": [digest]}


async def test_another_stand_in_serves_as_well_as_the_sandbox(database_url: str, tmp_path: Path) -> None:
    """AMAZON_BASE_URL names one that shares nothing with the project's; nothing else is called there."""
    other = OtherAmazon()
    async with other.listening() as address:
        product = Product(database_url, tmp_path / "everything.log", amazon=address)
        try:
            product.serve("api")
            product.work("worker")
            await asyncio.to_thread(product.ready, product.api + "/health/live")
            async with httpx.AsyncClient(timeout=30) as client:
                operator = Operator(product, client)
                destination = await operator.destination("123456789012", region="EU")
                (result,) = await operator.post([event(1, destination_id=destination)])
                assert result["status"] == "accepted"
                await eventually(lambda: _delivered(operator, destination, 1))
        finally:
            await asyncio.to_thread(product.close)
    assert [e["eventId"].split(":")[1] for e in other.events] == ["ord-1"]
    assert other.strangers == []


async def _delivered(operator: Operator, destination: str, number: int) -> bool:
    return (await operator.counts(destination))["delivered"] == number


async def _true(value: bool) -> bool:
    return value


async def _dump(database_url: str) -> str:
    """Return every row of every table as text, bytes decoded as far as they are text."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname = 'public'"
        )
        texts = []
        for table in tables:
            for row in await connection.fetch(f"SELECT * FROM {table['name']}"):
                for value in row.values():
                    is_bytes = isinstance(value, bytes)
                    texts.append(value.decode("latin-1") if is_bytes else str(value))
        assert len(texts) > 100
        return "\n".join(texts)
    finally:
        await connection.close()
