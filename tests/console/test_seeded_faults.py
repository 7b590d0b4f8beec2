"""Faults seeded at the sandbox: the destination's page, or an event's, names cause and remedy."""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.console.showcase import opened, visiting
from tests.pipeline.processes import Product
from tests.pipeline.world import MAPPING, event


@pytest.fixture(scope="module")
def visitor(product: Product) -> Iterator[httpx.Client]:
    with visiting(product) as client:
        yield client


def connected(product: Product, advertiser: str) -> str:
    """Make a destination that sends, and return its id."""
    return opened(product).shop(f"Acme {advertiser}", advertiser, document=MAPPING)


def read(answer: httpx.Response) -> str:
    """Return a page as a reader sees it: without markup, blanks as one."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


# One for each way to the words: the newest request, the state of the sign-in, an address that is not there,
# a request and an event that Amazon refused. `DIAGNOSES` of test_presenters.py has the words of all answers.
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "503": ({"kind": "5xx"}, "Amazon returns server errors", "retried automatically"),
    "revoked": (
        {"kind": "revoked"},
        "Amazon access was revoked or has expired.",
        "Reconnect and click Allow.",
    ),
    "404": ({"kind": "404"}, "404", "Check the region and the advertiser ID"),
    "400": ({"kind": "400"}, "Most common reason: Amazon rejected the request", "fix the mapping"),
    "refused item": (
        {"kind": "partial", "indexes": [0, 1, 2], "code": "BAD_REQUEST"},
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
    case, advertiser = opened(product), str(7_000_000_000 + number)
    destination = connected(product, advertiser)
    fault, *of_destination = FAULTS[name]
    case.fault(advertiser, **fault)
    case.send([event(number, destination_id=destination) for number in range(3)])

    def says(address: str, words: Sequence[str]) -> bool:
        page = read(visitor.get(address))
        return all(word in page for word in words)

    page = f"/console/destinations/{destination}"
    case.until(lambda: says(page, of_destination))
    of_event = ON_THE_EVENT.get(name, of_destination)
    case.until(lambda: says(f"{page}/event?id=ord-1", of_event))
