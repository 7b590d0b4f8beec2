"""A sign-in revoked under load: everything parks, nothing dies, and a reconnect delivers all of it once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.pipeline.processes import Operator, Product
from tests.pipeline.test_processes import sandbox_events
from tests.pipeline.world import event, eventually

BODY, CLIENTS = 100, 4
ADVERTISER = "5000000042"


@pytest_asyncio.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """Somebody with the admin key; an API process, two workers and the sandbox run."""
    product = Product(database_url, tmp_path / "everything.log")
    try:
        product.start("sandbox", "sandbox")
        product.serve("api")
        product.work("worker-1")
        product.work("worker-2")
        await asyncio.to_thread(
            product.ready, product.api + "/health/live", product.amazon + "/_sandbox/health"
        )
        async with httpx.AsyncClient(timeout=30) as client:
            yield Operator(product, client)
    finally:
        await asyncio.to_thread(product.close)


@pytest.mark.parametrize("events", [3_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_all_events_outlive_a_revoked_sign_in(operator: Operator, events: int) -> None:
    """Revoked after a third was posted; the rest is accepted and waits; Allow lets all of it go, once."""
    sandbox = f"{operator.product.amazon}/_sandbox"
    accounts = [{"advertiser_id": ADVERTISER, "region": "NA", "name": "Acme"}]
    await operator.client.post(f"{sandbox}/advertisers", json={"advertisers": accounts})
    destination = await operator.destination(ADVERTISER, rate=20)
    bodies = [
        [event(number, destination_id=destination) for number in range(start, start + BODY)]
        for start in range(0, events, BODY)
    ]
    total = len(bodies)

    async def client() -> None:
        while bodies:
            for result in await operator.post(bodies.pop()):
                assert result["status"] == "accepted", result

    async def revoke() -> None:
        async def a_third_was_posted() -> bool:
            return len(bodies) < 2 * total / 3

        await eventually(a_third_was_posted, seconds=60)
        answer = await operator.client.post(
            f"{sandbox}/faults", json={"advertiser_id": ADVERTISER, "faults": [{"kind": "revoked"}]}
        )
        assert answer.is_success, answer.text

    await asyncio.gather(revoke(), *(client() for _ in range(CLIENTS)))

    async def all_parked() -> dict[str, int] | None:
        counts = await operator.counts(destination)
        return counts if counts["delivered"] + counts["parked"] == events else None

    counts = await eventually(all_parked, seconds=60)
    assert counts["parked"] > 0
    state = await operator.call("GET", f"/destinations/{destination}")
    assert state["state"] == "needs_reconnect"
    assert len(await sandbox_events(operator)) == counts["delivered"]

    again = await operator.call("POST", f"/destinations/{destination}/connect")
    await operator.allow(again["authorize_url"])

    async def all_delivered() -> bool:
        counts = await operator.counts(destination)
        return counts["delivered"] == events

    await eventually(all_delivered, seconds=90, every=0.3)
    sent = await sandbox_events(operator)
    assert {one["event_id"].split(":", 1)[1] for one in sent} == {f"ord-{n}" for n in range(events)}
    assert {one["times"] for one in sent} == {1}
