"""Sending conversions over a real socket and over a mocked one: every ending is a value."""

import asyncio
import gc
import gzip
import json
import socket
import time
from contextlib import aclosing
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from app.amazon.client import EventsClient
from app.amazon.transport import MAX_REPLY_BYTES
from app.domain.destination import Region
from app.domain.outcomes.outcome import (
    ItemAccepted,
    PerItemReply,
    Reply,
    SentRequest,
    ServerError,
    TransportError,
)
from tests.listening import Heard, Listen, content_of, says
from tests.tables import cases

TAKEN = b'{"success":[{"index":0,"event":null}]}'
ONE = [b'{"eventId":"a"}']
CUSTOM = [{"name": f"field_{n}", "dataType": "STRING", "value": f"value {n}"} for n in range(60)]


async def send(
    client: EventsClient,
    region: Region = Region.EU,
    *,
    token: str = "Atza|t",
    deadline_s: float = 5.0,
    conversions: list[bytes] = ONE,
) -> SentRequest:
    return await client.send(
        region, access_token=token, advertiser_id="123", conversions=conversions, deadline_s=deadline_s
    )


respond_accepted = says(content_of(TAKEN, "207 Multi-Status", "x-amzn-RequestId: r-1"))


@pytest.mark.parametrize("status", ["207 Multi-Status", "400 Bad Request", "503 Service Unavailable"])
async def test_a_long_refusal_is_read_beside_the_event_loop(listen: Listen, status: str) -> None:
    """Other requests of the worker go on while values are removed from Amazon's messages."""
    conversions = [json.dumps({"eventId": f"ord-{n}", "customData": CUSTOM}).encode() for n in range(500)]
    refused = {"code": "FIELD_VALUE_IS_INVALID", "message": "The value of this field is not valid. " * 20}
    rows = [{"index": n, "errors": [refused]} for n in range(500)]
    body = json.dumps({"success": [], "error": rows, **refused}).encode()
    server = await listen(says(content_of(body, status)))
    async with aclosing(EventsClient("client-1", server.url)) as client:
        await send(client, conversions=conversions[:1])  # opens the connection
        began = time.thread_time()
        sent = await send(client, conversions=conversions)
        took = time.thread_time() - began
    assert sent.response is not None
    assert took < 0.02, took


async def test_a_request_is_on_the_wire_as_the_contract_says(listen: Listen) -> None:
    """Path by region, the three headers of P1, the frozen bytes untouched."""
    server = await listen(respond_accepted)
    async with aclosing(EventsClient("client-1", server.url)) as client:
        sent = await send(client, Region.FE)
    assert (sent.reply, sent.status, sent.request_id) == (PerItemReply((ItemAccepted(),)), 207, "r-1")
    [heard] = server.heard
    assert heard.head.startswith("POST /fe/adsApi/v1/create/events HTTP/1.1\r\n")
    common = ("host", "user-agent", "content-length")
    assert {name: value for name, value in heard.headers.items() if name not in common} == {
        "authorization": "Bearer Atza|t",
        "amazon-ads-clientid": "client-1",
        "amazon-ads-accountid": "123",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
    }, "no profile scope, no older client header"
    assert heard.body == b'{"events":[{"eventId":"a"}]}'


async def reset_at_once(_: Heard, writer: asyncio.StreamWriter) -> None:
    stream: socket.socket = writer.get_extra_info("socket")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


close_without_answer = says(b"", and_closes=True)
speak_something_else = says(b"220 mail.example ESMTP\r\n", and_closes=True)
announce_more_than_comes = says(b"HTTP/1.1 207 X\r\nContent-Length: 500\r\n\r\n" + TAKEN, and_closes=True)
end_inside_a_chunk = says(
    b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + TAKEN, and_closes=True
)
send_gzip = says(content_of(gzip.compress(TAKEN), "207 X", "Content-Encoding: gzip"))


async def never_answer(heard: Heard, _: asyncio.StreamWriter) -> None:
    await heard.reader.read()


async def drip(start: bytes, _: Heard, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, and go on byte by byte."""
    writer.write(b"HTTP/1.1 207 X\r\n" + start)
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


drip_body, drip_headers = partial(drip, b"Content-Length: 100000\r\n\r\n"), partial(drip, b"X-Long: ")


@cases(
    ("script", "reply"),
    {
        "a reset connection": (reset_at_once, TransportError("cut")),
        "a connection closed without an answer": (close_without_answer, TransportError("cut")),
        "a body shorter than announced, though it parses": (announce_more_than_comes, TransportError("cut")),
        "a body that ends inside a chunk": (end_inside_a_chunk, TransportError("cut")),
        "something that is not HTTP": (speak_something_else, TransportError("cut")),
        "no answer at all": (never_answer, TransportError("timeout")),
        "a body byte by byte, each byte in time": (drip_body, TransportError("timeout")),
        "headers byte by byte": (drip_headers, TransportError("timeout")),
        "a compressed body that was not requested": (send_gzip, ServerError("amazon_unreadable")),
    },
)
async def test_an_answer_that_goes_wrong_is_a_value_and_in_time(
    listen: Listen, script: Any, reply: Reply
) -> None:
    """The deadline is for the whole call: httpx's own timeouts start anew with every byte."""
    server = await listen(script)
    # On a busy machine an answer may take seconds; only where none ends the deadline is waited for.
    deadline_s = 0.5 if reply == TransportError("timeout") else 30.0
    async with aclosing(EventsClient("client-1", server.url)) as client:
        async with asyncio.timeout(20):  # without a deadline of its own the call would hang here
            sent = await send(client, deadline_s=deadline_s)
        assert sent.reply == reply
        # The slot is free again: as many more find room.
        again = await asyncio.gather(*(send(client, deadline_s=deadline_s) for _ in range(8)))
    assert {one.reply for one in again} == {reply}


async def test_a_refused_connection_is_lost_before_anything_was_sent() -> None:
    """No process listens on the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with aclosing(EventsClient("client-1", f"http://127.0.0.1:{free.getsockname()[1]}")) as client:
            assert (await send(client)).reply == TransportError("connect")


async def test_an_unknown_host_is_lost_before_anything_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a name server answers. A real one may not answer in time, which is a timeout."""
    unknown = AsyncMock(side_effect=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with aclosing(EventsClient("client-1", "http://amazon.invalid")) as client:
        assert (await send(client)).reply == TransportError("connect")
    unknown.assert_awaited()


async def test_an_endless_answer_is_read_to_one_mebibyte_only(listen: Listen) -> None:
    """What the server got rid of is the bound and what the sockets buffer."""
    pushed = 0

    async def count(_: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal pushed
        writer.write(b"HTTP/1.1 207 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            await writer.drain()
            pushed += 65_536

    server = await listen(count)
    async with aclosing(EventsClient("client-1", server.url)) as client:
        assert (await send(client)).reply == TransportError("too_long")
    assert pushed < 16 * MAX_REPLY_BYTES


async def test_a_full_request_whose_events_are_all_echoed_is_delivered(listen: Listen) -> None:
    """Amazon may echo what it took: a bound below that would send a full request for ever."""
    conversions = [json.dumps({"eventId": f"e-{n}", "customData": "x" * 1_900}).encode() for n in range(500)]

    async def echo(heard: Heard, writer: asyncio.StreamWriter) -> None:
        events = json.loads(heard.body)["events"]
        absent = dict.fromkeys(("partner", "consent", "deviceInfo", "value", "unitsSold", "amazonAdEventKey"))
        echoed = [{"index": n, "event": {**event, **absent}} for n, event in enumerate(events)]
        writer.write(content_of(json.dumps({"success": echoed}, indent=1).encode()))

    server = await listen(echo)
    async with aclosing(EventsClient("client-1", server.url)) as client:
        sent = await send(client, conversions=conversions)
    assert len(server.heard[0].body) <= 1_000_000  # our limit (P12)
    assert sent.reply == PerItemReply((ItemAccepted(),) * 500)


async def test_a_cancelled_call_hangs_up_and_leaves_the_client_usable(listen: Listen) -> None:
    """Shutting down must not wait for Amazon."""
    hung_up = asyncio.Event()

    async def wait_for_the_end(heard: Heard, _: asyncio.StreamWriter) -> None:
        await heard.reader.read()
        hung_up.set()

    silent = await listen(wait_for_the_end)
    async with aclosing(EventsClient("client-1", silent.url)) as client:
        for _ in range(20):  # more than there are connections: none may leak
            silent.request_arrived.clear()
            hung_up.clear()
            call = asyncio.create_task(send(client))
            await silent.request_arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            async with asyncio.timeout(30):
                await hung_up.wait()


async def test_only_a_response_that_accepted_not_everything_is_stored() -> None:
    rows = [{"index": 0}, {"index": 1}]
    refused = {"success": rows[:1], "error": [{"index": 1, "errors": [{"code": "BAD_REQUEST"}]}]}
    for reply, is_stored in (({"success": rows, "error": []}, False), (refused, True)):
        content = json.dumps(reply).encode()
        transport = httpx.MockTransport(lambda _, content=content: httpx.Response(207, content=content))
        async with aclosing(EventsClient("client-1", None, transport)) as client:
            sent = await send(client, conversions=[b"{}", b"{}"])
        assert (sent.response is not None) == is_stored


async def test_proxies_of_the_environment_are_not_used(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and match keys go to Amazon and nowhere else, whatever the environment says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = await listen(respond_accepted)
    async with aclosing(EventsClient("client-1", server.url)) as client:
        assert (await send(client)).status == 207


def requests() -> list[object]:
    """Return what is in memory of requests and answers, those of other tests too."""
    return [one for one in gc.get_objects() if type(one) in (httpx.Request, httpx.Response)]


async def test_a_request_is_gone_as_soon_as_it_was_answered() -> None:
    """Half a megabyte of body each: with much waiting, hundreds of them before the collector comes."""

    def take(request: httpx.Request) -> httpx.Response:
        return httpx.Response(207, json={"success": [{"index": 0, "event": None}], "error": []})

    client = EventsClient("client", "http://amazon.test", httpx.MockTransport(take))
    gc.collect()
    before = {id(one) for one in requests()}
    gc.disable()
    try:
        for _ in range(5):
            await client.send(
                Region.NA, access_token="Atza|1", advertiser_id="1", conversions=[b'{"eventId":"e"}']
            )
        left = [one for one in requests() if id(one) not in before]
    finally:
        gc.enable()
        await client.aclose()
    assert left == []
