"""Amazon's Events API as bytes and values: where it is, what is sent, how it answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from amazon_replies import ROWS, Row
from hypothesis import given
from hypothesis import strategies as st

from app.amazon import wire
from app.domain.destination import Region
from app.domain.outcomes.outcome import ItemAccepted, ItemRefused, PerItemReply, ServerError, Throttled
from tests.tables import cases


@pytest.mark.parametrize("row", [pytest.param(row, id=row.rule) for row in ROWS])
def test_an_answer_means(row: Row) -> None:
    """Each row of the specification holds."""
    assert wire.read_reply(row.status, row.headers, row.bytes(), [b"{}"] * row.sent) == row.reply


def test_the_codes_that_are_retried_are_exactly_three() -> None:
    """P4 names them; a fourth would retry what Amazon refused for good."""
    assert {"CONFLICT", "INTERNAL_ERROR", "TOO_MANY_REQUESTS"} == wire.RETRYABLE_CODES


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
_INDEX = st.integers(-2, 12) | _JSON
_ENTRY = st.fixed_dictionaries({"index": _INDEX}, optional={"event": _JSON, "errors": _JSON}) | _JSON
_REPLY = st.fixed_dictionaries(
    {}, optional={"success": st.lists(_ENTRY) | _JSON, "error": st.lists(_ENTRY) | _JSON}
)
_BODY = (_REPLY | _JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)


@given(sent=st.integers(1, 8), body=_BODY, status=st.integers(200, 299))
def test_n_conversions_sent_have_exactly_n_outcomes_whatever_is_answered(
    sent: int, body: bytes, status: int
) -> None:
    """A 2xx gives one outcome each, or none at all for an unreadable body; it never raises."""
    match wire.read_reply(status, {}, body, [b"{}"] * sent):
        case PerItemReply(outcomes):
            assert len(outcomes) == sent
        case reply:
            assert reply == ServerError("amazon_unreadable")


@given(body=_BODY, status=st.integers(-1, 1000), wait=st.text(max_size=12))
def test_no_answer_raises(body: bytes, status: int, wait: str) -> None:
    """Any status, header and body is a value."""
    wire.read_reply(status, {"retry-after": wait, "date": wait}, body, [b"{}"] * 2)


@given(st.lists(st.sampled_from(["success", "error", "both", "none"]), min_size=1, max_size=20), st.randoms())
def test_a_conversion_is_delivered_only_by_its_own_index_under_success(named: list[str], luck: Any) -> None:
    """The law behind the rows: success, and nothing else, delivers."""
    success = [{"index": i} for i, where in enumerate(named) if where in ("success", "both")]
    error = [
        {"index": i, "errors": [{"code": "X"}]} for i, where in enumerate(named) if where in ("error", "both")
    ]
    luck.shuffle(success)
    reply = wire.read_reply(
        207, {}, json.dumps({"success": success, "error": error}).encode(), [b"{}"] * len(named)
    )
    assert isinstance(reply, PerItemReply)
    assert [isinstance(one, ItemAccepted) for one in reply.outcomes] == [
        where == "success" for where in named
    ]


NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def throttled(now: datetime | None = None, **headers: str) -> object:
    """Read a 429 with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.read_reply(429, named, b"", [b"{}"], now=now)


@cases(
    ("text", "seconds"),
    {
        "whole seconds": ("7", 7.0),
        "space around it is ignored": (" 7 ", 7.0),
        "zero is a wait of nothing": ("0", 0.0),
        "an hour is obeyed": ("3600", 3600.0),
        "more than an hour is a mistake": ("3601", 300.0),
        "a number without end says nothing": ("9" * 400, None),
        "a negative number says nothing": ("-5, soon", None),
        "a fraction says nothing": ("7.5", None),
        "other digits say nothing": ("٧", None),
        "an empty header says nothing": ("", None),
        "a date counts from Amazon's own clock": ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        "a date that has passed is a wait of nothing": ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        "a date years ahead is a mistake": ("Tue, 24 Nov 2099 12:00:00 GMT", 300.0),
        "a day that does not exist says nothing": ("Tue, 99 Nov 2026 12:00:00 GMT", None),
        "a date without a zone is UTC": ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
    },
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """The wait is whole, bounded, or not there."""
    assert throttled(date="Tue, 24 Nov 2026 12:00:00 GMT", retry_after=text) == Throttled(seconds)


def test_retry_after_without_amazons_clock() -> None:
    """A date counts from our clock then, and without any clock it says nothing; a number needs no clock."""
    date = "Tue, 24 Nov 2026 12:00:30 GMT"
    assert throttled(NOON, retry_after=date) == Throttled(30.0)
    assert (
        throttled(retry_after=date)
        == throttled(NOON, retry_after="soon")
        == throttled(NOON)
        == Throttled(None)
    )
    assert throttled(retry_after="7") == Throttled(7.0)


@cases(
    ("headers", "expected"),
    {
        "documented first": ({"amazon-advertising-api-requestid": "r-1", "x-amzn-requestid": "r-2"}, "r-1"),
        "then those of AWS": ({"x-amzn-requestid": "r-2"}, "r-2"),
        "printable, to be escaped where shown": ({"x-amz-rid": "a <script>\x1b[31m"}, "a <script>[31m"),
        "nothing printable is nothing": ({"x-amz-request-id": "é\x00"}, None),
        "at most 128 characters": ({"x-amz-request-id": "x" * 999}, "x" * 128),
        "none": ({}, None),
    },
)
def test_the_request_id_is_recorded_clean(headers: dict[str, str], expected: str | None) -> None:
    """What Amazon calls a request helps its support; it is a stranger's text all the same."""
    assert wire.request_id(headers) == expected


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20))
def test_a_body_holds_the_stored_bytes_and_little_more(conversions: list[bytes]) -> None:
    """The join changes no byte (P5), and adds no more than batches reserve for it."""
    body = wire.request_body(conversions)
    assert len(body) <= sum(map(len, conversions)) + 64 + len(conversions)
    assert body == b'{"events":[' + b",".join(conversions) + b"]}"


@pytest.mark.parametrize("count", [0, 501])
def test_a_request_of_none_or_more_than_500_is_the_callers_mistake(count: int) -> None:
    """The schema takes 1 to 500 (P12)."""
    with pytest.raises(ValueError, match="1 to 500"):
        wire.request_body([b"{}"] * count)


@pytest.mark.parametrize(
    ("region", "api", "sign_in", "token"),
    [
        (Region.NA, "advertising-api.amazon.com", "www.amazon.com", "api.amazon.com"),
        (Region.EU, "advertising-api-eu.amazon.com", "eu.account.amazon.com", "api.amazon.co.uk"),
        (Region.FE, "advertising-api-fe.amazon.com", "apac.account.amazon.com", "api.amazon.co.jp"),
    ],
)
def test_each_region_has_its_hosts(region: Region, api: str, sign_in: str, token: str) -> None:
    """Contract §1 and §5; a stand-in serves all of them under one address."""
    assert wire.endpoints(region, None) == wire.Endpoints(
        f"https://{api}", f"https://{sign_in}/ap/oa", f"https://{token}/auth/o2/token"
    )
    root = f"http://stand-in:8001/{region.value.lower()}"
    for base in ("http://stand-in:8001", "http://stand-in:8001/"):
        assert wire.endpoints(region, base) == wire.Endpoints(root, f"{root}/ap/oa", f"{root}/auth/o2/token")


def test_what_was_sent_does_not_come_back_in_a_refusal() -> None:
    """Amazon's echo is taken out by value, each conversion against its own."""
    custom = b'"customData":[{"name":"note","value":"for Jane Doe"}]'
    conversions = [b'{"matchKeys":[{"type":"MATCH_ID","values":["Lo-12"]}],' + custom + b"}"]
    error = {
        "index": 0,
        "errors": [{"code": "BAD_REQUEST", "message": "customData note: For  jane doe, LO-12 is bad"}],
    }
    reply = wire.read_reply(207, {}, json.dumps({"error": [error]}).encode(), conversions)
    assert reply == PerItemReply((ItemRefused("BAD_REQUEST", "customData note: ***, *** is bad"),))
