"""The fault menu: what each fault does, how often, and for whom; those of the connection over real ones."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.tables import cases

MINE, OTHERS = "1000000001", "1000000002"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "400"}, 400, "BAD_REQUEST"),
        ({"kind": "401"}, 401, "UNAUTHORIZED"),
        ({"kind": "403"}, 403, "FORBIDDEN"),
        ({"kind": "404"}, 404, "NOT_FOUND"),
        ({"kind": "418"}, 418, "BAD_REQUEST"),
        ({"kind": "301"}, 301, "BAD_REQUEST"),
        ({"kind": "429"}, 429, "TOO_MANY_REQUESTS"),
        *(({"kind": "5xx", "status": status}, status, "INTERNAL_ERROR") for status in (500, 502, 503, 504)),
    ],
    ids=str,
)
async def test_a_status_refuses_the_complete_request(
    caller: Any, event: Any, fault: dict[str, Any], status: int, code: str
) -> None:
    """Nothing is accepted, and the log names the fault."""
    await caller.fault(fault)
    answer = await caller.send(event())
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await caller.accepted())["totals"]["received"] == 0
    assert (await caller.requests())[-1]["fault"] == fault["kind"]


@pytest.mark.parametrize(
    ("fault", "header"),
    [
        ({"kind": "429"}, None),
        ({"kind": "429", "retry_after": 7}, "7"),
        ({"kind": "429", "retry_after": "Tue, 24 Nov 2026 12:00:09 GMT"}, "Tue, 24 Nov 2026 12:00:09 GMT"),
        ({"kind": "429", "retry_after": "-5, soon"}, "-5, soon"),
        ({"kind": "5xx", "retry_after": 3}, "3"),
    ],
    ids=str,
)
async def test_retry_after_goes_out_as_it_was_given(
    caller: Any, event: Any, fault: dict[str, Any], header: str | None
) -> None:
    await caller.fault(fault)
    assert (await caller.send(event())).headers.get("retry-after") == header


async def test_a_hidden_limit_lets_its_pace_through_and_no_more(caller: Any, clock: Any, event: Any) -> None:
    await caller.fault({"kind": "hidden_rate_limit", "requests_per_second": 2, "burst": 3})

    async def passed(tries: int) -> int:
        return sum([(await caller.send(event())).status_code == 207 for _ in range(tries)])

    assert await passed(10) == 3
    clock.now += 1
    assert await passed(10) == 2
    clock.now += 60
    assert await passed(10) == 3


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        ({"kind": "partial"}, [1, 3]),
        ({"kind": "partial", "indexes": [0, 400]}, [0]),
        ({"kind": "partial", "event_ids": ["e2"]}, [2]),
    ],
    ids=str,
)
async def test_partial_refuses_some_and_accepts_the_rest(
    caller: Any, event: Any, fault: dict[str, Any], refused: list[int]
) -> None:
    await caller.fault(fault | {"code": "CONFLICT"})
    body = (await caller.send(*(event(f"e{index}") for index in range(4)))).json()
    assert [one["index"] for one in body["error"]] == refused
    assert {one["errors"][0]["code"] for one in body["error"]} == {"CONFLICT"}
    kept = [one["event_id"] for one in (await caller.accepted())["items"]]
    assert kept == [f"e{index}" for index in range(4) if index not in refused]


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("fault", "success", "error"),
    [
        ({"kind": "missing_index", "indexes": [1]}, [0, 2], []),
        ({"kind": "both_lists", "indexes": [1]}, [0, 1, 2], [1]),
        ({"kind": "empty_207"}, [], []),
        ({"kind": "malformed", "body": "truncated"}, None, None),
        ({"kind": "malformed", "body": "html", "status": 200}, None, None),
        ({"kind": "malformed", "body": "wrong_types"}, None, None),
        ({"kind": "malformed", "body": "garbage"}, None, None),
        ({"kind": "malformed", "body": "empty"}, None, None),
        ({"kind": "malformed", "body": "deep"}, None, None),
    ],
    ids=str,
)
async def test_an_unclear_answer_leaves_open_what_was_done(
    caller: Any, event: Any, fault: dict[str, Any], success: Any, error: Any, accepted: bool
) -> None:
    await caller.fault(fault | {"accepted": accepted})
    answer = await caller.send(*(event(f"e{index}") for index in range(3)))
    assert answer.status_code == fault.get("status", 207)
    if success is not None:
        body = answer.json()
        assert [one["index"] for one in body.get("success", [])] == success
        assert [one["index"] for one in body.get("error", [])] == error
    assert (await caller.accepted())["totals"]["received"] == (3 if accepted else 0)
    assert (await caller.requests())[-1]["outcomes"] == ["accepted" if accepted else "refused"] * 3


async def test_a_poisonous_event_spoils_each_request_it_is_in(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "400_if_contains", "event_ids": ["bad"]})
    assert (await caller.send(event("good"), event("bad"))).status_code == 400
    assert (await caller.send(event("good"))).status_code == 207


async def test_a_request_over_the_size_is_413(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "413_over", "events": 2})
    assert (await caller.send(event("a"), event("b"), event("c"))).status_code == 413
    assert (await caller.send(event("a"), event("b"))).status_code == 207


async def test_a_fault_ends_after_its_times_and_the_next_takes_over(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "429", "times": 2}, {"kind": "5xx", "times": 1})
    assert [(await caller.send(event())).status_code for _ in range(4)] == [429, 429, 503, 207]
    faults = (await caller.http.get("/_sandbox/faults")).json()["items"]
    assert [(one["fired"], one["ended"]) for one in faults] == [(2, True), (1, True)]


async def test_a_probability_is_repeatable_by_its_seed(caller: Any, event: Any) -> None:
    async def run(seed: int) -> list[int]:
        await caller.fault({"kind": "5xx", "probability": 0.5, "seed": seed})
        return [(await caller.send(event())).status_code for _ in range(40)]

    first = await run(1)
    assert set(first) == {207, 503}
    assert await run(1) == first
    assert await run(2) != first


async def test_an_advertisers_own_faults_come_before_everyones(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "5xx"}, advertiser_id="*")
    await caller.fault({"kind": "403", "times": 1}, advertiser_id=MINE)
    assert (await caller.send(event())).status_code == 403
    assert (await caller.send(event())).status_code == 503
    assert (await caller.send(event(), amazon_ads_accountid=OTHERS)).status_code == 503


async def test_a_fault_can_be_one_regions_only(caller: Any, european: Any, event: Any) -> None:
    await caller.fault({"kind": "5xx", "region": "EU"}, advertiser_id="*")
    assert (await caller.send(event())).status_code == 207
    assert (await european.send(event())).status_code == 503


async def test_setting_replaces_and_deleting_takes_away(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "5xx"})
    await caller.fault({"kind": "429"})
    assert (await caller.send(event())).status_code == 429
    await caller.http.delete("/_sandbox/faults", params={"advertiser_id": OTHERS})
    assert (await caller.send(event())).status_code == 429
    await caller.http.delete("/_sandbox/faults", params={"advertiser_id": MINE})
    assert (await caller.send(event())).status_code == 207
    await caller.fault({"kind": "5xx"})
    await caller.http.delete("/_sandbox/faults")
    assert (await caller.http.get("/_sandbox/faults")).json()["items"] == []


async def test_slow_waits_and_then_lets_the_next_decide(caller: Any, event: Any) -> None:
    await caller.fault({"kind": "slow", "ms": 20}, {"kind": "5xx", "times": 1})
    assert (await caller.send(event())).status_code == 503
    assert (await caller.send(event())).status_code == 207
    assert (await caller.http.get("/_sandbox/faults")).json()["items"][0]["fired"] == 2


async def test_a_revoked_sign_in_is_dead_until_the_person_signs_in_again(
    caller: Any, clock: Any, event: Any
) -> None:
    """Old tokens: 401, and invalid_grant for a refresh. New ones work while the fault still stands."""
    await caller.send(event("a"))
    clock.now += 1
    await caller.fault({"kind": "revoked"})
    assert (await caller.send(event("b"))).status_code == 401
    refresh = await caller.refresh()
    assert (refresh.status_code, refresh.json()["error"]) == (400, "invalid_grant")
    clock.now += 1
    await caller.sign_in()
    assert (await caller.send(event("b"))).status_code == 207
    assert (await caller.refresh()).status_code == 200


async def test_a_revocation_strikes_the_sign_in_that_first_names_the_advertiser_now(
    caller: Any, event: Any
) -> None:
    """A sign-in not yet used for anybody is found out at its first request for the advertiser."""
    await caller.fault({"kind": "revoked"})
    assert (await caller.refresh()).status_code == 200
    assert (await caller.send(event())).status_code == 401
    assert (await caller.refresh()).json()["error"] == "invalid_grant"


async def test_a_revocation_leaves_other_advertisers_sign_ins_alone(
    caller: Any, a_caller: Any, event: Any
) -> None:
    other = await a_caller(caller.http, advertiser_id=OTHERS).sign_in()
    await caller.send(event())
    await other.send(event())
    await caller.fault({"kind": "revoked"}, advertiser_id=MINE)
    assert (await other.send(event())).status_code == 207
    assert (await other.refresh()).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ({"kind": "token_5xx"}, 503, "server_error"),
        ({"kind": "token_5xx", "status": 500}, 500, "server_error"),
        ({"kind": "token_invalid_grant"}, 400, "invalid_grant"),
    ],
    ids=str,
)
async def test_a_token_fault_strikes_the_token_endpoint_only(
    caller: Any, event: Any, fault: dict[str, Any], status: int, error: str
) -> None:
    await caller.send(event("a"))
    await caller.fault(fault | {"times": 1})
    assert (await caller.send(event("b"))).status_code == 207
    struck = await caller.refresh()
    assert (struck.status_code, struck.json()["error"]) == (status, error)
    assert (await caller.refresh()).status_code == 200


async def test_a_token_fault_of_everyone_strikes_a_first_sign_in_too(caller: Any) -> None:
    await caller.fault({"kind": "token_5xx"}, advertiser_id="*")
    assert (await caller.redeem(await caller.code())).status_code == 503


async def test_a_malformed_token_answer_is_html_or_breaks_a_line(caller: Any) -> None:
    await caller.fault({"kind": "token_malformed"}, advertiser_id="*")
    assert (await caller.refresh()).text.startswith("<html>")
    await caller.fault({"kind": "token_malformed", "body": "line_break"}, advertiser_id="*")
    assert "\r\n" in (await caller.refresh()).json()["access_token"]


@cases(
    "body",
    {
        "an unknown kind": {"fault": {"kind": "tea"}},
        "a setting the kind does not have": {"fault": {"kind": "429", "retry": 1}},
        "no times at all": {"fault": {"kind": "429", "times": 0}},
        "a negative wait": {"fault": {"kind": "429", "retry_after": -1}},
        "a wait that breaks a line": {"fault": {"kind": "429", "retry_after": "1\r\nx: y"}},
        "a place of two lines": {"fault": {"kind": "301", "location": "http://x/\r\ny: z"}},
        "a 5xx that is none": {"fault": {"kind": "5xx", "status": 418}},
        "more than certain": {"fault": {"kind": "5xx", "probability": 1.5}},
        "no region of Amazon's": {"fault": {"kind": "5xx", "region": "XX"}},
        "no pace": {"fault": {"kind": "hidden_rate_limit", "requests_per_second": 0}},
        "an index no request has": {"fault": {"kind": "partial", "indexes": [500]}},
        "one and a list": {"fault": {"kind": "5xx"}, "faults": [{"kind": "429"}]},
        "nothing": {"advertiser_id": MINE},
        "no advertiser": {"advertiser_id": "", "fault": {"kind": "5xx"}},
        "a misspelt member": {"advertiser": MINE, "fault": {"kind": "5xx"}},
        "a list": [],
    },
)
async def test_a_fault_that_cannot_be_set_is_refused_with_a_reason(caller: Any, body: Any) -> None:
    answer = await caller.http.post("/_sandbox/faults", json=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "detail", "fields"}
    assert (await caller.http.get("/_sandbox/faults")).json()["items"] == []


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
