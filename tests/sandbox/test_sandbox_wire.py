"""The faults that are about the connection, over real ones, and what odd clients do."""

import asyncio
import json
from typing import Any

import httpx
import pytest


async def test_drop_after_accept_closes_without_a_byte_and_keeps_the_events(wired: Any, event: Any) -> None:
    """The sender cannot know; its second, identical send is seen as a repeat."""
    await wired.fault({"kind": "drop_after_accept", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await wired.send(event("a"))
    assert (await wired.send(event("a"))).status_code == 207
    [kept] = (await wired.accepted())["items"]
    assert (kept["times"], kept["identical"]) == (2, True)
    assert [one["status"] for one in await wired.requests()] == [None, 207]


async def test_drop_before_accept_keeps_nothing(wired: Any, event: Any) -> None:
    await wired.fault({"kind": "drop_before_accept", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        await wired.send(event("a"))
    assert (await wired.accepted())["items"] == []


async def test_cut_short_breaks_off_in_the_middle_of_the_answer(wired: Any, event: Any) -> None:
    await wired.fault({"kind": "cut_short", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await wired.send(event("a"))
    assert [one["event_id"] for one in (await wired.accepted())["items"]] == ["a"]


async def test_never_holds_the_request_until_the_client_gives_up(wired: Any, event: Any) -> None:
    await wired.fault({"kind": "never"})
    wired.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        await wired.send(event("a"))
    assert (await wired.accepted())["items"] == []


async def test_a_slow_answer_comes(wired: Any, event: Any) -> None:
    await wired.fault({"kind": "slow", "ms": 600, "times": 1})
    wired.http.timeout = httpx.Timeout(0.3)
    with pytest.raises(httpx.ReadTimeout):
        await wired.send(event("a"))
    wired.http.timeout = httpx.Timeout(5)
    assert (await wired.send(event("b"))).status_code == 207


async def test_a_huge_answer_is_sent_and_one_may_leave_in_the_middle(wired: Any, event: Any) -> None:
    await wired.fault({"kind": "malformed", "body": "huge", "times": 1})
    request = wired.http.build_request(
        "POST", "/na/adsApi/v1/create/events", json={"events": [event()]}, headers=wired.headers()
    )
    answer = await wired.http.send(request, stream=True)
    seen = 0
    async for chunk in answer.aiter_raw():
        seen += len(chunk)
        if seen > 2_000_000:
            break
    await answer.aclose()
    assert seen > 2_000_000
    assert (await wired.send(event())).status_code == 207


async def test_a_body_too_large_is_answered_though_it_is_still_being_sent(wired: Any) -> None:
    """The client sees the 413 and not a reset connection."""

    async def thirty_megabytes() -> Any:
        for _ in range(480):
            yield b" " * 65_536

    answer = await wired.http.post(
        "/na/adsApi/v1/create/events", content=thirty_megabytes(), headers=wired.headers()
    )
    assert answer.status_code == 413


async def test_a_body_without_an_end_is_given_up(wired: Any, event: Any) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65_536

    with pytest.raises(httpx.TransportError):
        await wired.http.post("/na/adsApi/v1/create/events", content=endless(), headers=wired.headers())
    assert [one["status"] for one in await wired.requests()] == [413]


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    wired: Any, served: str, event: Any
) -> None:
    url = httpx.URL(served)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = "\r\n".join(f"{name}: {value}" for name, value in wired.headers().items())
    start = f"POST /na/adsApi/v1/create/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n{head}\r\n\r\n"
    writer.write(start.encode() + json.dumps({"events": [event()]}).encode()[:100])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await wired.send(event("b"))).status_code == 207
    assert [one["event_id"] for one in (await wired.accepted())["items"]] == ["b"]
