"""Odd input of every kind: the sandbox answers, and no exception gets out.

The in-process transport raises whatever the application lets through, so a traceback anywhere fails these
tests.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import create_sandbox
from sandbox.rules import judge
from sandbox.vocabulary import ERROR_CODES

NOW = 1_795_521_600.0
QUIET = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

WORDS = st.sampled_from(
    [
        "eventDescription", "name", "conversionType", "countryCode", "eventTime", "matchKeys", "type",
        "values", "consent", "amazonConsent", "amznUserData", "tcf", "geo", "ipAddress", "customData",
        "value", "unitsSold", "currencyCode", "eventId", "OFF_AMAZON_PURCHASES", "EMAIL", "FIP", "US",
        "2026-11-24T12:00:00Z",
    ]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every place in a JSON value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@given(st.data())
@QUIET
def test_whatever_stands_anywhere_in_an_event_the_verdict_is_in_amazons_words(
    event: Callable[..., dict[str, Any]], data: st.DataObject
) -> None:
    """Up to three members are replaced by anything; each refusal is short and has a code of Amazon's."""
    spoilt: Any = json.loads(json.dumps(event()))
    for _ in range(data.draw(st.integers(1, 3))):
        *steps, last = data.draw(st.sampled_from(places(spoilt)[1:] or [("eventId",)]))
        place = spoilt
        for step in steps:
            place = place[step]
        place[last] = data.draw(VALUES)
    refusals = judge(spoilt, region=data.draw(st.sampled_from(["NA", "EU", "FE"])), now=NOW)
    assert len(refusals) <= 20
    assert all(one.code in ERROR_CODES and len(one.message) < 100 for one in refusals)


@given(VALUES)
@QUIET
def test_any_json_value_can_be_judged(value: Any) -> None:
    assert judge(value, region="EU", now=NOW)


@pytest.fixture(scope="module")
def anything() -> Callable[..., httpx.Response]:
    """Send one request to a sandbox of its own and return the answer."""
    sandbox = create_sandbox()

    def send(method: str, path: str, **given: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(sandbox)
            async with httpx.AsyncClient(transport=transport, base_url="http://s") as http:
                return await http.request(method, path, **given)

        return asyncio.run(once())

    return send


PATHS = [
    "/na/adsApi/v1/create/events", "/na/auth/o2/token", "/na/ap/oa", "/na/adsApi/v1/query/advertiserAccounts",
    "/_sandbox/faults", "/_sandbox/advertisers", "/na/dsp/advertisers", "/na/v2/profiles", "/_sandbox/events",
    "/_sandbox/requests", "/events-manager",
]  # fmt: skip
HOSTILE_BODIES = [
    b"", b"\x00", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 50_000, b'"' + b"a" * 500_000, b"nul",
    b"1e999", b"9" * 10_000, b"a=%", b"a=%ff", b"&" * 1000, b"=" * 1000, b"a=1&" * 1000, b"\r\n\r\n",
    b'{"advertiser_id":"\\ud800"}', b'{"fault":null,"faults":null}', b'{"advertisers":[null]}',
    b'{"fault":{"kind":null}}', b'{"fault":{"kind":"slow","ms":1e300}}',
]  # fmt: skip
MEDIA_TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "\xff",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=lambda body: repr(body[:20]))
def test_no_body_breaks_a_path(anything: Callable[..., httpx.Response], path: str, body: bytes) -> None:
    for media_type in MEDIA_TYPES:
        headers = {b"content-type": media_type.encode("latin-1")}
        answer = anything("POST", path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "query",
    [
        "%", "%ff", "%00", "=", "&&", "limit=%ff", "cursor=" + "9" * 400, "since=" + "9" * 400, "since=1.5.5",
        "since=0001-01-01T00:00:00%2B23:59", "since=9999-12-31T23:59:59-23:59", "advertiser_id=%00",
        "startIndex=%C2%B2", "count=%C2%B2", "redirect_uri=http://%ff/", "client_id=" + "x" * 10_000,
    ],
)  # fmt: skip
def test_no_query_breaks_a_path(anything: Callable[..., httpx.Response], path: str, query: str) -> None:
    assert anything("GET", f"{path}?{query}").status_code < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "name", ["authorization", "amazon-ads-clientid", "amazon-ads-accountid", "content-length", "cookie"]
)
def test_no_header_breaks_a_path(anything: Callable[..., httpx.Response], path: str, name: str) -> None:
    for value in (b"", b"\xff\xff", b"Bearer ", b"Bearer Atza|\xff.\xff", b"9" * 5000, b"-1"):
        for method in ("GET", "POST"):
            assert anything(method, path, headers={name.encode(): value}).status_code < 500
