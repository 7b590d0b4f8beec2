"""A sign-in revoked under load: everything parks, nothing dies, and a reconnect delivers all of it once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.pipeline.processes import Operator, Product, running_product
from tests.pipeline.world import event, eventually

pytestmark = pytest.mark.long

EVENTS, BODY, CLIENTS = 10_000, 100, 4
ADVERTISER = "5000000042"


@pytest_asyncio.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """Somebody with the admin key; an API process, two workers and the sandbox run."""
    product = Product(database_url, tmp_path / "everything.log")
    async with running_product(product, workers=["worker-1", "worker-2"]) as made:
        yield made


async def test_all_events_outlive_a_revoked_sign_in(operator: Operator) -> None:
    """Revoked after a third was posted; the rest is accepted and waits; Allow lets all of it go, once."""
    await operator.advertisers(ADVERTISER)
    destination = await operator.destination(ADVERTISER, rate=20)
    bodies = [
        [event(number, destination_id=destination) for number in range(start, start + BODY)]
        for start in range(0, EVENTS, BODY)
    ]
    total = len(bodies)

    async def client() -> None:
        while bodies:
            for result in await operator.post(bodies.pop()):
                assert result["status"] == "accepted", result

    async def revoke() -> None:
        await eventually(lambda: len(bodies) < 2 * total / 3, seconds=60)
        fault = {"advertiser_id": ADVERTISER, "faults": [{"kind": "revoked"}]}
        answer = await operator.client.post(f"{operator.product.amazon}/_sandbox/faults", json=fault)
        assert answer.is_success, answer.text

    await asyncio.gather(revoke(), *(client() for _ in range(CLIENTS)))

    async def all_parked() -> dict[str, int] | None:
        counts = await operator.counts(destination)
        return counts if counts["delivered"] + counts["parked"] == EVENTS else None

    counts = await eventually(all_parked, seconds=60)
    assert counts["parked"] > 0
    state = await operator.call("GET", f"/destinations/{destination}")
    assert state["state"] == "needs_reconnect"
    assert len(await operator.accepted()) == counts["delivered"]

    again = await operator.call("POST", f"/destinations/{destination}/connect")
    await operator.allow(again["authorize_url"])

    await operator.until_delivered(destination, EVENTS, seconds=90)
    sent = await operator.accepted()
    assert {one["event_id"].split(":", 1)[1] for one in sent} == {f"ord-{n}" for n in range(EVENTS)}
    assert {one["times"] for one in sent} == {1}
