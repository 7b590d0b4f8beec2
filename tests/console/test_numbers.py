"""Every number on a page that is a link equals the number of rows of the list behind it."""

import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.console.browsing import Site
from tests.console.showcase import Showcase, opened
from tests.pipeline.processes import Product

# The links whose text begins with a number, without links to other ranges, times and ids. The current filter
# links back to the whole list.
NUMBERS = """() => [...document.querySelectorAll("main a[href]:not([aria-current])")]
  .filter((link) => !link.closest(".range, .subnav, .tabs") && !link.querySelector("time, code"))
  .map((link) => [link.href, link.textContent.trim().match(/^(?:All )?([0-9][0-9,]*)(?![0-9:-])/)?.[1]])
  .filter(([, word]) => word)"""
ROWS = """() => {
  const lists = ["Events", "Events found", "Newest events", "Rejected events", "Incidents",
    "Table of destinations"];
  const region = [...document.querySelectorAll(".scroll")].find((one) => lists.includes(one.ariaLabel));
  return region ? region.querySelectorAll("tbody tr").length : 0;
}"""


# Pages, and the lists that their numbers open.
KINDS = {
    ("", ""),
    ("/destinations/", "/destinations//events"),
    ("/destinations/", "/destinations//rejections"),
    ("/destinations//errors", "/destinations//events"),
    ("/destinations//errors", "/destinations//rejections"),
    ("/destinations//journeys", "/destinations//events"),
    ("/incidents/", "/destinations//events"),
}


def kind_of(address: str) -> str:
    """Return an address below the console without ids and parameters."""
    return re.sub(r"(dst|inc)_\w+|^.*/console|[?].*", "", address)


@dataclass(frozen=True)
class Shop:
    """Two destinations with events in many states, and an incident of the first."""

    busy: str
    paused: str
    incident: str

    @property
    def pages(self) -> list[str]:
        here = f"/console/destinations/{self.busy}"
        paused = f"/console/destinations/{self.paused}"
        ranges = [f"{here}?range={name}" for name in ("1h", "24h", "7d")]
        return [
            "/console",
            "/console?health=paused",
            *ranges,
            paused,
            *(
                f"{here}/{name}"
                for name in ("errors", "rejections", "journeys", "replays", "consent", "requests", "events")
            ),
            "/console/incidents",
            f"/console/incidents/{self.incident}",
            "/console/events",
            "/console/privacy",
            "/console/system",
            "/console/event-names",
        ]


@pytest.fixture(scope="module")
def shop(product: Product) -> Shop:
    """Delivered, refused, rejected, repeated and waiting events, more than a page of a list has."""
    case = opened(product)
    busy, paused = case.shop("Busy", "1000000001"), case.shop("Paused", "1000000002")
    case.send(case.events(busy, 64))
    case.drain(busy)
    refuse(case, busy)
    rejected: list[Any] = case.events(busy, 57)
    for index, one in enumerate(rejected):
        one["journey"] |= {"id": f"journey-{index % 2}", "node_id": f"n{index % 4}"}
        if index % 3:
            del one["event"]["timestamp"]
        else:
            one["user"] = {}
    case.send([*case.events(busy, 1), *rejected])
    case.ask("POST", f"/destinations/{paused}/pause")
    case.send(case.events(paused, 7))
    failed = f"/incidents?destination_id={busy}&kind=dead_letters"
    case.until(lambda: case.ask("GET", failed)["items"])
    return Shop(busy, paused, case.ask("GET", failed)["items"][0]["id"])


def refuse(case: Showcase, destination: str) -> None:
    """Let Amazon refuse some events of one request, and dismiss one of them."""
    advertiser = case.ask("GET", f"/destinations/{destination}")["advertiser_id"]
    case.fault(advertiser, kind="partial", indexes=[0, 2, 4], code="BAD_REQUEST")
    case.send(case.events(destination, 9))
    case.drain(destination)
    failed = [
        one["event_id"] for one in case.ask("GET", f"/destinations/{destination}/events?status=dead")["items"]
    ]
    case.ask(
        "POST",
        f"/destinations/{destination}/dead-letters/dismiss",
        {"event_ids": failed[:1], "dry_run": False},
    )
    case.heal()


def listed(site: Site, address: str) -> int:
    """Return the number of rows of a list and of its further pages."""
    site.page.goto(address)
    if "/event?" in site.page.url:
        return 1  # a search that finds one event opens its page
    rows = int(site.page.evaluate(ROWS))
    while (
        further := site.page.locator(
            "main a.button", has_text=re.compile("^(Older|Next|Search further back|More)$")
        )
    ).count():
        further.first.click()
        site.page.wait_for_load_state()
        rows += int(site.page.evaluate(ROWS))
    return rows


def numbers_of(site: Site, shop: Shop) -> dict[tuple[str, str], int]:
    """Return the numbers on all pages by page and address of the list."""
    numbers: dict[tuple[str, str], int] = {}
    for page in shop.pages:
        site.open(page)
        site.page.wait_for_load_state()
        for href, word in site.page.evaluate(NUMBERS):
            numbers[page, href] = int(word.replace(",", ""))
    return numbers


def test_every_number_equals_the_list_behind_it(site: Site, shop: Shop) -> None:
    """Compared when nothing changed meanwhile: the health of a destination follows its events by seconds."""
    until = time.monotonic() + 60
    numbers, lists, later = numbers_of(site, shop), dict[str, int](), dict[tuple[str, str], int]()
    while numbers != later:
        assert time.monotonic() < until, "the numbers do not settle"
        later = numbers
        lists = {href: listed(site, href) for href in {href for _, href in numbers}}
        numbers = numbers_of(site, shop)
    wrong = {
        place: (number, lists[place[1]]) for place, number in numbers.items() if lists[place[1]] != number
    }
    assert [f"{page} {href}: {pair}" for (page, href), pair in wrong.items()] == []
    kinds = {(kind_of(page), kind_of(href)) for page, href in numbers}
    assert len(numbers) > 20, sorted(numbers)
    assert not KINDS - kinds
