"""Twelve faults seeded at the sandbox: the destination's page, or an event's, names cause and remedy."""

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.console.showcase import opened, visiting
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import MAPPING, event

BEARER = {"Authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def visitor(product: Product) -> Iterator[httpx.Client]:
    with visiting(product) as client:
        yield client


def connected(product: Product, advertiser: str) -> str:
    """Make a destination that sends, and return its id."""
    return opened(product).shop(f"Acme {advertiser}", advertiser, document=MAPPING)


def send(product: Product, destination: str, **changes: Any) -> None:
    one = {**event(1, destination_id=destination), **changes}
    httpx.post(f"{product.api}/events", json=one, headers=BEARER, timeout=20)


def read(answer: httpx.Response) -> str:
    """Return a page as a reader sees it: without markup, blanks as one."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "429": (
        {"kind": "429"},
        "Amazon is rate-limiting requests (HTTP 429).",
        "does not count as a failed attempt",
    ),
    "hidden rate limit": (
        {"kind": "hidden_rate_limit", "requests_per_second": 0.01},
        "429",
        "No action needed",
    ),
    "503": ({"kind": "5xx"}, "Amazon returns server errors", "retried automatically"),
    "never answers nor connects": (
        {"kind": "drop_before_accept"},
        "Requests to Amazon time out or lose their connection.",
        "outbound network access",
    ),
    "accepts and drops": (
        {"kind": "drop_after_accept"},
        "Requests to Amazon time out or lose their connection.",
        "If Amazon is down, no action is needed.",
    ),
    "garbage": ({"kind": "malformed"}, "unreadable", "retried automatically"),
    "revoked": (
        {"kind": "revoked"},
        "Amazon access was revoked or has expired.",
        "Reconnect and click Allow.",
    ),
    "401": ({"kind": "401"}, "Amazon rejects the sign-in even with a new token (401).", "Reconnect to get"),
    "403": ({"kind": "403"}, "no permission for this advertiser (403).", "Give that user access"),
    "400": ({"kind": "400"}, "Most common reason: Amazon rejected the request", "fix the mapping"),
    "404": ({"kind": "404"}, "404", "Check the region and the advertiser ID"),
    "refused item": (
        {"kind": "partial", "indexes": [0], "code": "BAD_REQUEST"},
        "Most common reason: Amazon rejected the event",
        "fix the mapping or the source data",
    ),
}


# Where the event's own page says it of the event instead of its destination.
ON_THE_EVENT = {
    "400": ("Amazon's message: The request is not valid.", "fix the mapping"),
    "404": ("Amazon does not know this address or account", "Retried automatically."),
    "refused item": ("Amazon rejected this event", "fix the mapping or the source data."),
}


@pytest.mark.parametrize(("number", "name"), list(enumerate(FAULTS)), ids=list(FAULTS))
def test_cause_and_remedy_are_named(product: Product, visitor: httpx.Client, number: int, name: str) -> None:
    """Within some seconds, on either page, in words that a person can act on."""
    fault, cause, remedy = FAULTS[name]
    advertiser = str(7_000_000_000 + number)
    destination = connected(product, advertiser)
    if name == "hidden rate limit":
        send(product, destination, event_id="first")
    opened(product).fault(advertiser, **fault)
    for index in range(3):
        send(product, destination, event_id=f"ord-{index}")
        time.sleep(0.3)  # requests apart, so that a rate limit has something to count
    until = time.monotonic() + 60
    page = ""
    while not (cause in page and remedy in page):
        assert time.monotonic() < until, page[:1500]
        time.sleep(0.2)
        page = read(visitor.get(f"/console/destinations/{destination}"))
    cause, remedy = ON_THE_EVENT.get(name, (cause, remedy))
    event_id = "ord-2" if name == "hidden rate limit" else "ord-0"
    page = ""
    while not (cause in page and remedy in page):
        assert time.monotonic() < until, page[:1500]
        page = read(visitor.get(f"/console/destinations/{destination}/event?id={event_id}"))
