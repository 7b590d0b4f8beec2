"""The events call beside what the conformance cases hold: who may send, what a body may be, what is kept."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import create_sandbox
from sandbox.journal import Journal, Logged
from tests.tables import cases


async def test_each_event_is_answered_by_its_zero_based_index(caller: Any, event: Any) -> None:
    good, bad = event("a"), event("b", countryCode="UK")
    answer = await caller.send(good, bad, event("c"))
    body = answer.json()
    assert answer.status_code == 207
    assert [(one["index"], one["event"]["eventId"]) for one in body["success"]] == [(0, "a"), (2, "c")]
    [refused] = body["error"]
    assert refused["index"] == 1
    assert refused["errors"][0]["fieldLocation"] == "events[1].countryCode"
    assert answer.headers["amazon-advertising-api-requestid"]


@cases(
    ("headers", "status", "code"),
    {
        "no bearer token": ({"authorization": "Basic eDp5"}, 401, "UNAUTHORIZED"),
        "no client id": ({"amazon_ads_clientid": ""}, 401, "UNAUTHORIZED"),
        "another client's token": ({"amazon_ads_clientid": "other"}, 401, "UNAUTHORIZED"),
        "no account": ({"amazon_ads_accountid": ""}, 400, "BAD_REQUEST"),
        "an unknown account": ({"amazon_ads_accountid": "999"}, 403, "FORBIDDEN"),
        "another region's account": ({"amazon_ads_accountid": "2000000001"}, 403, "FORBIDDEN"),
        "an entity id": ({"amazon_ads_accountid": "ENTITY1"}, 403, "FORBIDDEN"),
        "a body that is not JSON": ({"content_type": "text/plain"}, 415, "BAD_REQUEST"),
        "an encoded body": ({"content_encoding": "gzip"}, 415, "BAD_REQUEST"),
    },
)
async def test_a_request_is_refused_with(
    caller: Any, event: Any, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await caller.send(event(), **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]
    assert (await caller.accepted())["totals"]["received"] == 0


async def test_the_old_client_id_header_does_not_do_for_events(caller: Any, event: Any) -> None:
    old = {"amazon_advertising_api_clientid": caller.client_id, "amazon_ads_clientid": ""}
    assert (await caller.send(event(), **old)).status_code == 401


async def test_a_token_of_another_region_is_refused(caller: Any, european: Any, event: Any) -> None:
    caller.tokens = european.tokens
    assert (await caller.send(event())).status_code == 401


async def test_the_global_account_id_is_the_same_advertiser(caller: Any, event: Any) -> None:
    await caller.send(event("a"), amazon_ads_accountid=f"amzn1.ads-account.g.{caller.advertiser_id}")
    accepted = await caller.accepted(advertiser_id=caller.advertiser_id)
    assert [one["event_id"] for one in accepted["items"]] == ["a"]


async def test_a_hidden_advertiser_is_refused_and_not_listed(caller: Any, event: Any) -> None:
    hidden = {"advertiser_id": caller.advertiser_id, "region": "NA", "hidden": True}
    await caller.http.post("/_sandbox/advertisers", json={"advertisers": [hidden]})
    assert (await caller.send(event())).status_code == 403


DEEP = b'{"events":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
UNREADABLE = [
    pytest.param(b"", id="an empty body"),
    pytest.param(b"null", id="null"),
    pytest.param(b'{"events":{}}', id="events that are no list"),
    pytest.param(b'{"events":[{}],"more":1}', id="a member the schema does not have"),
    pytest.param(b'{"eventData":[{}]}', id="an older generation's envelope"),
    pytest.param(b'{"events":[{"value":NaN}]}', id="NaN"),
    pytest.param(b'{"events":[{"value":Infinity}]}', id="Infinity"),
    pytest.param(b'{"events":[{"value":1e400}]}', id="a number beyond a double"),
    pytest.param(b'{"events":[{"value":' + b"9" * 5000 + b"}]}", id="a number of 5,000 digits"),
    pytest.param(b'{"events":[{"eventId":"\xff"}]}', id="bytes that are not UTF-8"),
    pytest.param(b'{"events":[{"eventId":"\\ud800"}]}', id="a lone surrogate"),
    pytest.param(b'\xef\xbb\xbf{"events":[{}]}', id="a byte order mark"),
    pytest.param('{"events":[{}]}'.encode("utf-16"), id="UTF-16"),
    pytest.param(b'{"events":[{"a":"\x00"}]}', id="a bare control character"),
    pytest.param(b'{"events":[{}]} x', id="something after the end"),
    pytest.param(DEEP, id="a hundred thousand levels"),
]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_a_malformed_body_is_400(caller: Any, event: Any, body: bytes) -> None:
    """Nothing of a refused request is kept, though its first event was fine."""
    answer = await caller.send_bytes(body)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    spoilt = b'{"events":[' + json.dumps(event()).encode() + b"," + body + b"]}"
    if (await caller.send_bytes(spoilt)).status_code == 400:
        assert (await caller.accepted())["totals"]["received"] == 0


@pytest.mark.parametrize(("size", "status"), [(1_000_000, 207), (1_000_001, 413)])
async def test_a_request_holds_at_most_a_million_bytes(
    caller: Any, event: Any, size: int, status: int
) -> None:
    body = json.dumps({"events": [event()]}).encode()
    answer = await caller.send_bytes(body + b" " * (size - len(body)))
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "CONTENT_TOO_LARGE"
        assert (await caller.requests())[-1]["status"] == 413


async def test_the_hash_is_over_the_exact_bytes_of_the_event(caller: Any, event: Any) -> None:
    """A space makes other bytes; so does the order of members; the envelope does not count."""
    exact = b'{ "eventId":"x" ,' + json.dumps(event())[1:].encode()
    await caller.send_bytes(b'{ "events" : [ ' + exact + b" ] }")
    [kept] = (await caller.accepted())["items"]
    assert kept["payload_hash"] == hashlib.sha256(exact).hexdigest()


async def test_a_repeat_counts_and_tells_other_bytes_apart(caller: Any, clock: Any, event: Any) -> None:
    await caller.send(event("a"))
    clock.now += 5
    await caller.send(event("a"), event("b"))
    await caller.send(event("a", value=1))
    accepted = await caller.accepted()
    first = accepted["items"][0]
    assert (first["event_id"], first["times"], first["identical"]) == ("a", 3, False)
    assert len(first["payload_hashes"]) == 2
    assert first["received_at"] == "2026-11-24T12:00:00.000Z"
    assert first["last_received_at"] == "2026-11-24T12:00:05.000Z"
    totals = accepted["totals"]
    assert (totals["distinct"], totals["received"], totals["repeats"], totals["other_bytes"]) == (2, 4, 2, 1)


async def test_one_event_id_at_two_advertisers_is_two_events(caller: Any, event: Any) -> None:
    await caller.send(event("a"))
    await caller.send(event("a"), amazon_ads_accountid="1000000002")
    assert [one["advertiser_id"] for one in (await caller.accepted())["items"]] == [
        "1000000001",
        "1000000002",
    ]
    only = await caller.accepted(advertiser_id="1000000002")
    assert [one["times"] for one in only["items"]] == [1]
    assert only["totals"]["received"] == 1


async def test_an_event_without_an_id_is_never_a_repeat(caller: Any, event: Any) -> None:
    nameless = event()
    del nameless["eventId"]
    await caller.send(nameless, nameless)
    assert (await caller.accepted())["totals"]["distinct"] == 2


async def test_a_list_is_read_page_by_page_and_by_time(caller: Any, clock: Any, event: Any) -> None:
    for name in "abcde":
        await caller.send(event(name))
        clock.now += 1
    seen: list[str] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = await caller.accepted(limit="2", cursor=cursor)
        seen += [one["event_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == list("abcde")
    late = await caller.accepted(since="2026-11-24T12:00:03Z")
    assert [one["event_id"] for one in late["items"]] == ["d", "e"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("limit=0", "out_of_range"),
        ("limit=x", "out_of_range"),
        ("limit=99999999", "out_of_range"),
        ("cursor=-1", "invalid"),
        ("cursor=١", "invalid"),
        ("since=noon", "not_a_time"),
        ("since=1e999", "not_a_time"),
        ("advertiser=1000000001", "unknown_parameter"),
        ("limit=1&limit=1", "duplicate"),
    ],
)
async def test_a_list_refuses_a_query_it_cannot_read(caller: Any, query: str, problem: str) -> None:
    for path in ("/_sandbox/events", "/_sandbox/requests"):
        answer = await caller.http.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
        assert answer.json()["fields"] == [{"field": query.partition("=")[0], "problem": problem}]


@pytest.mark.parametrize(
    "path", ["events?advertiser=1000000001", "events?since=noon", "requests?x", "faults?x"]
)
async def test_a_misspelt_filter_deletes_nothing(caller: Any, event: Any, path: str) -> None:
    """It would otherwise delete everything."""
    await caller.send(event("a"))
    answer = await caller.http.delete(f"/_sandbox/{path}")
    assert (answer.status_code, answer.json()["fields"][0]["problem"]) == (422, "unknown_parameter")
    assert (await caller.accepted())["totals"]["received"] == 1


async def test_emptying_forgets_one_advertisers_events_or_all(caller: Any, event: Any) -> None:
    await caller.send(event("a"))
    await caller.send(event("a"), amazon_ads_accountid="1000000002")
    gone = await caller.http.delete("/_sandbox/events", params={"advertiser_id": "1000000001"})
    assert gone.json() == {"deleted": 1}
    accepted = await caller.accepted()
    assert [one["advertiser_id"] for one in accepted["items"]] == ["1000000002"]
    assert accepted["totals"]["received"] == 1
    await caller.http.delete("/_sandbox/events")
    assert (await caller.accepted())["totals"]["received"] == 0
    await caller.send(event("a"))
    assert (await caller.accepted())["items"][0]["times"] == 1


async def test_memory_is_bounded_and_counts_survive_it(a_caller: Callable[..., Any], event: Any) -> None:
    """Beyond `max_events` the oldest are forgotten; the totals still tell of them."""
    sandbox = create_sandbox(max_events=20, clock=lambda: 1_795_521_600.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://s") as http:
        caller = await a_caller(http).sign_in()
        await caller.send(*(event(f"e{index}") for index in range(100)))
        accepted = await caller.accepted()
    assert 18 <= len(accepted["items"]) <= 20
    assert accepted["items"][-1]["event_id"] == "e99"
    assert accepted["totals"]["distinct"] == 100


def test_the_remembered_requests_are_bounded_by_their_events() -> None:
    """A request of five hundred weighs five hundred times one of a single event."""

    def entry(request_id: int, events: int) -> Logged:
        return Logged(
            request_id=request_id, received_at=0, monotonic=0, region="NA", advertiser_id="1", status=207,
            events=events,
        )  # fmt: skip

    journal = Journal(max_requests=4, max_logged_events=1000)
    for request_id, events in enumerate([500, 500, 1, 1, 1, 1, 1]):
        journal.log(entry(request_id, events))
    assert [one.request_id for one in journal.requests(None, 0)] == [3, 4, 5, 6]
    journal.log(entry(7, 998))
    assert [one.request_id for one in journal.requests(None, 0)] == [5, 6, 7]


async def test_the_request_log_tells_of_every_request_and_is_also_a_file(
    tmp_path: Path, a_caller: Callable[..., Any], event: Any, clock: Any
) -> None:
    log = tmp_path / "logs" / "requests.jsonl"
    sandbox = create_sandbox(log_path=log, clock=clock, monotonic=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://s") as http:
        caller = await a_caller(http).sign_in()
        await caller.fault({"kind": "429", "retry_after": 7, "times": 1})
        await caller.send(event("a"), event("b", countryCode="UK"))
        clock.now += 3
        await caller.send(event("a"), event("b", countryCode="UK"))
        clock.now += 4
        await caller.send(event("a"))
        await caller.send_bytes(b"{")
        shown = await caller.requests()
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(logged) == 4
    assert [one["status"] for one in shown] == [429, 207, 207, 400]
    assert [one["status"] for one in logged] == [429, 207, 207, 400]
    first, second, third, fourth = logged
    assert (first["fault"], first["retry_after"], first["outcomes"]) == ("429", "7", ["refused", "refused"])
    assert (first["region"], first["advertiser_id"], first["events"]) == ("NA", "1000000001", 2)
    assert first["event_ids"] == second["event_ids"] == ["a", "b"]
    assert first["payload_hashes"] == second["payload_hashes"]
    assert second["outcomes"] == ["accepted", "refused"]
    assert second["within_retry_after"] is True
    assert third["within_retry_after"] is False
    assert fourth["event_ids"] == []


async def test_events_manager_says_no_activity_yet_and_then_counts(caller: Any, event: Any) -> None:
    assert "No activity yet" in (await caller.http.get("/events-manager")).text
    denied = {"amazonConsent": {"amznUserData": "DENIED"}}
    await caller.send(event("a"), event("b", consent=denied), event("c"), event("c"))
    page = (await caller.http.get("/events-manager")).text
    assert "No activity yet" not in page
    assert ">Amazon ad tag events</a>" in page
    tags = (await caller.http.get("/events-manager?view=ad_tag")).text
    assert "No activity yet" in tags
    assert "lists tag-based events only" in tags
    assert "Order Completed" not in tags
    assert "<td>Order Completed</td><td>OFF_AMAZON_PURCHASES</td><td>WEBSITE</td>" in page
    assert '<td class="number">4</td>' in page
    assert '<td class="number">25%</td>' in page
    assert "2026-11-24T12:00:00.000Z" in page


async def test_events_manager_lists_the_latest_events_with_value_and_units(caller: Any, event: Any) -> None:
    """Newest first, the first of copies; of one advertiser if one is asked for."""
    await caller.send(event("a", value=12.5, currencyCode="EUR", unitsSold=3), event("b"), event("b"))
    page = (await caller.http.get("/events-manager")).text
    latest = page.split('aria-label="Latest events"')[1]
    rows = [re.findall(r"<td[^>]*>([^<]*)", row) for row in latest.split("<tr>")[2:]]
    assert [row[5] for row in rows] == ["b", "a"]
    assert rows[1][:4] == ["Order Completed", "12.5", "EUR", "3"]
    assert "EMAIL" in rows[1][4]
    other = (await caller.http.get("/events-manager?advertiser_id=another")).text
    assert "Latest events" not in other


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/_sandbox/health", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/xx/adsApi/v1/create/events", 404),
        ("POST", "/na/adsApi/v1/create/events/", 404),
        ("GET", "/na/adsApi/v1/create/events", 405),
        ("GET", "/xx/ap/oa", 404),
        ("POST", "/xx/auth/o2/token", 404),
        ("GET", "/xx/v2/profiles", 404),
        ("POST", "/na/events/v1", 404),
    ],
)
async def test_paths(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    """Pages and health answer; another region, an older generation and a wrong method do not."""
    assert (await http.request(method, path)).status_code == status
