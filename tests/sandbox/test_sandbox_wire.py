"""The faults that are about the connection, over real ones, and what odd clients do."""

import asyncio
import json
from typing import Any

import httpx
import pytest


async def test_drop_after_accept_closes_without_a_byte_and_keeps_the_events(context: Any, event: Any) -> None:
    """The sender cannot know; its second, identical send is seen as a repeat."""
    await context.fault({"kind": "drop_after_accept", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await context.send(event("a"))
    assert (await context.send(event("a"))).status_code == 207
    [kept] = (await context.accepted())["items"]
    assert (kept["times"], kept["identical"]) == (2, True)
    assert [one["status"] for one in await context.requests()] == [None, 207]


async def test_drop_before_accept_keeps_nothing(context: Any, event: Any) -> None:
    await context.fault({"kind": "drop_before_accept", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        await context.send(event("a"))
    assert (await context.accepted())["items"] == []


async def test_cut_short_breaks_off_in_the_middle_of_the_answer(context: Any, event: Any) -> None:
    await context.fault({"kind": "cut_short", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await context.send(event("a"))
    assert [one["event_id"] for one in (await context.accepted())["items"]] == ["a"]


async def test_never_holds_the_request_until_the_client_gives_up(context: Any, event: Any) -> None:
    await context.fault({"kind": "never"})
    context.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        await context.send(event("a"))
    assert (await context.accepted())["items"] == []


async def test_a_slow_answer_comes(context: Any, event: Any) -> None:
    await context.fault({"kind": "slow", "ms": 600, "times": 1})
    context.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        await context.send(event("a"))
    context.http.timeout = httpx.Timeout(5)
    assert (await context.send(event("b"))).status_code == 207


async def test_a_huge_answer_is_sent_and_one_may_leave_in_the_middle(context: Any, event: Any) -> None:
    await context.fault({"kind": "malformed", "body": "huge", "times": 1})
    request = context.http.build_request(
        "POST", "/na/adsApi/v1/create/events", json={"events": [event()]}, headers=context.headers()
    )
    answer = await context.http.send(request, stream=True)
    seen = 0
    async for chunk in answer.aiter_raw():
        seen += len(chunk)
        if seen > 2_000_000:
            break
    await answer.aclose()
    assert seen > 2_000_000
    assert (await context.send(event())).status_code == 207


async def test_a_body_too_large_is_answered_though_it_is_still_being_sent(context: Any) -> None:
    """The client sees the 413 and not a reset connection."""

    async def thirty_megabytes() -> Any:
        for _ in range(480):
            yield b" " * 65_536

    answer = await context.http.post(
        "/na/adsApi/v1/create/events", content=thirty_megabytes(), headers=context.headers()
    )
    assert answer.status_code == 413


async def test_a_body_without_an_end_is_given_up(context: Any, event: Any) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65_536

    with pytest.raises(httpx.TransportError):
        await context.http.post("/na/adsApi/v1/create/events", content=endless(), headers=context.headers())
    assert [one["status"] for one in await context.requests()] == [413]


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    context: Any, served: str, event: Any
) -> None:
    url = httpx.URL(served)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = "\r\n".join(f"{name}: {value}" for name, value in context.headers().items())
    start = f"POST /na/adsApi/v1/create/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n{head}\r\n\r\n"
    writer.write(start.encode() + json.dumps({"events": [event()]}).encode()[:100])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await context.send(event("b"))).status_code == 207
    assert [one["event_id"] for one in (await context.accepted())["items"]] == ["b"]
