"""Test conversions: marked, without a person, in a data set of their own, and not in real figures."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.amazon.client import EventsClient
from app.store.encryption import access_place
from tests.incidents.conftest import Service
from tests.pipeline.world import event

BODY = {"count": 3, "dataset_name": "Shop_Test", "event_name": "Test conversion"}


@pytest.fixture
async def dst(service: Service) -> str:
    """A destination of an application that sends to the world's Amazon."""
    state = service.client._transport.app.state  # type: ignore[attr-defined]
    client = EventsClient("client", "http://amazon.test", service.world.amazon.client())
    state.context = replace(state.context, send_conversions=client.send)
    return await service.world.destination()


async def figures(service: Service) -> dict[str, Any]:
    """Return what production would show: counts, pins, attempts, batches, lanes."""
    tables = (
        "counts",
        "event_names",
        "attempts",
        "batches",
        "batch_states",
        "ledger",
        "lanes",
        "journey_figures",
    )
    return {
        table: [str(row) for row in await service.world.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]
        for table in tables
    }


async def test_marked_conversions_arrive_and_change_no_figure(service: Service, dst: str) -> None:
    """Amazon gets three in one request; nothing of the service but the audit knows."""
    world = service.world
    await service.post(dst, event(1))
    before = await figures(service)
    answer = await service.send(f"/destinations/{dst}/test-conversions", **BODY)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["outcome"], found["http_status"], found["dataset_name"]) == ("answered", 207, "Shop_Test")
    assert [(each["index"], each["status"]) for each in found["items"]] == [(n, "accepted") for n in range(3)]
    assert await figures(service) == before
    (request,) = world.amazon.requests
    assert len({each["eventId"] for each in request.events}) == 3
    for each in request.events:
        assert each["eventDescription"] == {
            "name": "Test conversion", "conversionType": "OTHER", "eventSource": "WEBSITE",
            "eventIngestionMethod": "SERVER_TO_SERVER", "dataSetName": "Shop_Test",
        }  # fmt: skip
        assert re.fullmatch(r"test-[0-9a-f]{16}", each["eventId"])
        assert each["customData"] == [{"name": "test_conversion", "value": "true"}]
    (audited,) = await world.fetch(
        "SELECT after FROM audit WHERE action = 'destination.test_conversions_sent'"
    )
    assert "Shop_Test" in audited["after"]


@pytest.mark.parametrize("token", [None, b"a b"], ids=["no sign-in", "a token that no header can carry"])
async def test_without_a_connection_nothing_is_sent(service: Service, dst: str, token: bytes | None) -> None:
    """The answer says what to do."""
    world = service.world
    sealed = token and world.resources.vault.seal(token, place=access_place(dst))
    await world.fetch(
        "UPDATE sign_ins SET access_token = $1, access_until = CASE WHEN $2 THEN access_until END",
        sealed,
        token is not None,
    )
    answer = await service.send(f"/destinations/{dst}/test-conversions", **BODY)
    assert (answer.status_code, answer.json()["error"]) == (409, "not_connected"), answer.text
    assert "Connect it" in answer.json()["detail"]
    assert world.amazon.requests == []


async def test_a_suspended_organisation_sends_none(service: Service, dst: str) -> None:
    """As with its events, Amazon gets nothing until the organisation is resumed."""
    await service.do("/organisations/default/suspend", {})
    answer = await service.send(f"/destinations/{dst}/test-conversions", **BODY)
    assert (answer.status_code, answer.json()["error"]) == (403, "organisation_suspended"), answer.text
    assert service.world.amazon.requests == []


async def test_amazon_answers_item_by_item(service: Service, dst: str) -> None:
    """A refused item with code and message; a refused request without items."""
    world = service.world
    world.amazon.script = lambda request: httpx.Response(
        207,
        json={
            "success": [{"index": 0}],
            "error": [{"index": 1, "errors": [{"code": "FIELD_VALUE_IS_INVALID", "message": "no"}]}],
        },
    )
    path = f"/destinations/{dst}/test-conversions"
    items = (await service.send(path, **BODY)).json()["items"]
    assert [(each["status"], each["code"]) for each in items] == [
        ("accepted", None), ("refused", "FIELD_VALUE_IS_INVALID"), ("unknown", None),
    ]  # fmt: skip
    world.amazon.script = lambda request: httpx.Response(403, json={"code": "FORBIDDEN"})
    refused = (await service.send(path, **BODY)).json()
    assert (refused["http_status"], refused["items"]) == (403, [])
    (row,) = await world.fetch("SELECT state FROM destinations WHERE id = $1", dst)
    assert row["state"] == "active"


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 4},
        {"count": 0},
        {"event_name": "Added to cart"},
        {"dataset_name": "Shop_Events"},
        {"event_name": "<"},
    ],
)
async def test_the_names_of_real_events_are_refused(
    service: Service, dst: str, wrong: dict[str, Any]
) -> None:
    """So are more than three."""
    world = service.world
    await world.fetch("UPDATE destinations SET dataset_name = 'Shop_Events' WHERE id = $1", dst)
    await service.post(dst, event(1))  # pins the name
    answer = await service.send(f"/destinations/{dst}/test-conversions", **{**BODY, **wrong})
    assert answer.status_code == 422, answer.text
    assert world.amazon.requests == []


async def test_a_destination_may_send_ten_requests_an_hour(service: Service, dst: str) -> None:
    """The eleventh is refused with the time to wait, and Amazon does not get it. Others are not affected."""
    world = service.world
    other = await world.destination()
    path = f"/destinations/{dst}/test-conversions"
    assert [(await service.send(path, **BODY)).status_code for _ in range(10)] == [200] * 10
    refused = await service.send(path, **BODY)
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
    assert 3_500 < int(refused.headers["Retry-After"]) <= 3_600
    assert len(world.amazon.requests) == 10
    assert (await service.send(f"/destinations/{other}/test-conversions", **BODY)).status_code == 200
