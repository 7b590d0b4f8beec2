"""The drill: each incident is announced in time, once, and resolved, with real processes."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.incidents.receivers import SECRET, WebhookReceiver, webhook_receiver
from tests.pipeline.processes import Operator, Product, running_product
from tests.pipeline.world import event

OPENS_WITHIN, RESOLVES_WITHIN = 20.0, 70.0  # the interface's 15 and 60 s, and what a busy machine adds
pytestmark = pytest.mark.long


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver that verifies every signature."""
    async with webhook_receiver() as made:
        yield made


@pytest.fixture
async def operator(database_url: str, tmp_path: Path, receiver: WebhookReceiver) -> AsyncIterator[Operator]:
    """The operator of one API process, one worker and the sandbox, which notify the receiver."""
    product = Product(
        database_url,
        tmp_path / "everything.log",
        more={"NOTIFY_WEBHOOKS": f"ops={receiver.url}", "NOTIFY_SECRETS": f"ops={SECRET}"},
    )
    async with running_product(product, workers=("worker",)) as made:
        yield made


async def message(receiver: WebhookReceiver, name: str, kind: str, within: float) -> dict[str, Any]:
    """Wait for the one message of a type about a kind."""
    until = time.monotonic() + within
    while True:
        found = [each for each in receiver.of_type(name) if each["data"]["kind"] == kind]
        if found:
            assert len(found) == 1, found
            return found[0]
        assert time.monotonic() < until, (name, kind, receiver.messages)
        await asyncio.sleep(0.2)


async def faults(operator: Operator, advertiser: str, *kinds: dict[str, Any]) -> None:
    """Set the faults of an advertiser at the sandbox; none removes them."""
    address = f"{operator.product.amazon}/_sandbox/faults"
    if not kinds:
        await operator.client.delete(address, params={"advertiser_id": advertiser})
        return
    answer = await operator.client.post(address, json={"advertiser_id": advertiser, "faults": list(kinds)})
    assert answer.status_code < 300, answer.text


async def test_failing_requests_and_a_restart(operator: Operator, receiver: WebhookReceiver) -> None:
    """Amazon fails; every process is killed and started again; Amazon recovers."""
    destination = await operator.destination("5800000001")
    await operator.call(
        "PATCH", f"/destinations/{destination}", {"alerting": {"failing": {"min_requests": 3}}}
    )
    await faults(operator, "5800000001", {"kind": "5xx"})
    await operator.post([{"destination_id": destination, **event(number)} for number in range(5)])
    opened = await message(receiver, "opened", "failing", OPENS_WITHIN + 20)
    assert opened["data"]["action"] == "open_amazon"
    for name in ("api", "worker"):
        operator.product.kill(name)
    operator.product.serve("api")
    operator.product.work("worker")
    await asyncio.to_thread(operator.product.ready, operator.product.api + "/health/live")
    await asyncio.sleep(15)
    assert len(receiver.of_type("opened")) == 1
    await faults(operator, "5800000001")
    resolved = await message(receiver, "resolved", "failing", RESOLVES_WITHIN + 60)
    assert resolved["data"]["id"] == opened["data"]["id"]
    page = await operator.call("GET", "/incidents?kind=failing")
    assert [item["state"] for item in page["items"]] == ["resolved"]


async def test_no_worker(operator: Operator, receiver: WebhookReceiver) -> None:
    """The worker is killed while events wait; the API process computes and announces."""
    destination = await operator.destination("5800000002")
    operator.product.kill("worker")
    await operator.post([{"destination_id": destination, **event(number)} for number in range(5)])
    opened = await message(receiver, "opened", "no_worker", 60 + OPENS_WITHIN)
    assert opened["data"]["destination_id"] is None
    operator.product.work("worker")
    await message(receiver, "resolved", "no_worker", RESOLVES_WITHIN)
    metrics = (await operator.client.get(operator.product.api + "/metrics")).text
    assert 'amazon_conversions_incidents_open{kind="no_worker",severity="critical"} 0.0' in metrics
