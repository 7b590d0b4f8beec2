"""Every page in a browser: accessible, silent, from one origin, and unmoved by hostile names."""

import re
from dataclasses import dataclass, fields
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browsing import Site, window
from tests.console.showcase import Stage, newest_request, opened
from tests.console.test_sessions import ROUTES
from tests.pipeline.processes import Product
from tests.pipeline.world import MAPPING, event


@dataclass(frozen=True)
class Seeded(Stage):
    """A product with something on every page."""

    product: Product


@pytest.fixture(scope="module")
def seeded(product: Product) -> Seeded:
    """A destination that sends, one that is a draft, a key, and events delivered and rejected."""
    case, advertiser = opened(product), "1000000001"
    made = case.destination("Acme US", advertiser, "NA", "USD")
    case.connect(made)
    mapping = case.publish(made, MAPPING)
    case.send([event(n, destination_id=made) for n in range(5)])
    bad = {**event(77, destination_id=made), "event": {"name": "x"}}
    case.send([bad, event(78, destination_id=made)])
    case.ask("POST", "/keys", {"name": "journey", "scopes": ["events:write"]})
    draft = case.destination("A draft", "42", "NA", "USD")
    case.until(lambda: case.ask("GET", f"/destinations/{made}/stats")["counts"]["delivered"] >= 6)
    selection = {"status": "dead", "dry_run": False}
    replay = case.ask("POST", f"/destinations/{made}/replay", selection)["replay_id"]
    request = newest_request(product, made)
    return Seeded(made, mapping, draft, "ord-1", "ord-77", replay, request, advertiser, product)


# Not a page: a stream, a fragment, a file, or a step of a sign-in. An incident is looked at in its own test.
NO_PAGE = re.compile(
    r".*(/live|\.csv|/export|/receipt|/static/.*|/hints/.*|/oidc/.*|/sign-in|/incidents/{incident_id})|/docs"
    r"|/console/"
)


def test_every_page_is_looked_at() -> None:
    """A new page of the router must be among the pages of a stage. They are weighed too."""
    addresses = [path.split("?")[0] for path in Stage(*["x"] * len(fields(Stage))).pages.values()]
    missing = [
        path
        for path, method, _ in ROUTES
        if method == "GET" and not NO_PAGE.fullmatch(path)
        if not any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), address) for address in addresses)
    ]
    assert missing == []


# Pages with headings of tables, lines of trends and forms that a phone shows in another way.
WIDER = {"destinations", "destination", "events", "mapping", "journeys", "audit"}


def test_axe_finds_nothing_and_nothing_sticks_out(browser: Browser, seeded: Seeded) -> None:
    """On every page, light at a desk and dark on a phone, without errors in the browser's console.

    At a desk the contrast is checked in the dark too, where a phone does not show all.
    """
    found: dict[str, list[str]] = {}
    with window(browser, seeded.product, signed_in=False, reduced_motion="reduce") as site:

        def check(name: str, width: int, scheme: Any, *rules: str) -> None:
            site.page.set_viewport_size({"width": width, "height": 900})
            site.page.emulate_media(color_scheme=scheme)
            problems = site.check_accessible(*rules)
            if site.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                problems.append("the page is wider than the window")
            found[f"{name}, {width}, {scheme}"] = problems

        for name, path in {"sign-in": "/console/sign-in", **seeded.pages}.items():
            site.open(path)
            expect(site.page.locator("main")).to_be_visible()
            check(name, 1280, "light")
            if name in WIDER:
                check(name, 1280, "dark", "color-contrast")
            check(name, 390, "dark")
            if name == "sign-in":
                site.sign_in()
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert site.complaints == []


@pytest.mark.parametrize("path", ["/", "/events-manager", "/faults"])
def test_axe_finds_nothing_on_the_sandboxs_pages(site: Site, seeded: Seeded, path: str) -> None:
    """And each says in words that it is not Amazon."""
    # Its pages allow no script at all, so axe is let in by the driver alone.
    site.page.goto(seeded.product.amazon + path)
    expect(site.page.get_by_text("SANDBOX · this is not Amazon")).to_be_visible()
    assert site.check_accessible() == []


_HOVER = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(shown in Europe/Berlin\)$")


def test_a_preview_that_is_fetched_is_dimmed_and_one_that_fails_says_so(site: Site, seeded: Seeded) -> None:
    """Loading and error states: beside what was typed, which stays."""
    page = site.page
    site.open(f"/console/destinations/{seeded.shop}/mappings/{seeded.mapping}")
    held: list[Any] = []
    page.route("**/preview", lambda route: held.append(route))
    page.locator("#f-event_name").fill("Something else")
    expect(page.locator("#preview")).to_have_attribute("aria-busy", "true")
    page.wait_for_function("document.querySelector('.htmx-request') !== null")
    for route in held:
        route.abort()
    expect(page.locator("#preview [role=alert]")).to_contain_text("No response from the service.")
    expect(page.locator("#preview")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("#f-event_name")).to_have_value("Something else")
    page.unroute("**/preview")
    page.locator("#f-event_name").fill("Added to cart")
    expect(page.locator("#preview")).to_contain_text("conversionType")
    site.complaints[:] = [
        one for one in site.complaints if "Failed to" not in one and "ERR_FAILED" not in one
    ]


_UNHELPED = """() => [...document.querySelectorAll('main input, main select, main textarea')]
  .filter(one => !['hidden', 'radio', 'checkbox', 'submit'].includes(one.type) && !one.closest('form.search'))
  .filter(one => {
    const helpIds = (one.getAttribute('aria-describedby') || '').split(' ')
      .map(id => document.getElementById(id)?.textContent.trim());
    return !helpIds.some(Boolean) && !one.closest('.row')?.querySelector('.help')
      && !one.closest('dialog') && !one.closest('#custom') && !one.closest('noscript');
  }).map(one => one.name || one.id)"""


@pytest.mark.parametrize(
    "page",
    [
        "new-destination",
        "settings-of-destination",
        "mapping-new",
        "mapping",
        "keys",
        "event-name",
        "hash-tester",
    ],
)
def test_every_field_has_its_help(site: Site, seeded: Seeded, page: str) -> None:
    """Beside it, and read with it; rows of custom data share the help above them."""
    site.open(seeded.pages[page])
    assert site.page.evaluate(_UNHELPED) == []


def test_times_are_the_viewers_and_utc_on_hover(site: Site, seeded: Seeded) -> None:
    """The browser stands in Berlin; hovering says UTC."""
    site.open(seeded.pages["event"])
    expect(site.page.locator(".history time").first).to_have_attribute("title", _HOVER)


def test_the_keyboard_alone_reaches_the_search_and_skips_to_the_content(site: Site, seeded: Seeded) -> None:
    """The first tab stop is the skip link; a slash or Ctrl+K goes to the search, which answers as typed."""
    site.open("/console")
    site.page.keyboard.press("Tab")
    expect(site.page.get_by_text("Skip to content")).to_be_focused()
    site.page.locator("body").press("/")
    search = site.page.get_by_role("searchbox", name="Search everything")
    expect(search).to_be_focused()
    search.press_sequentially("audi")
    found = site.page.locator("#finds").get_by_role("link", name="Audit")
    expect(found).to_be_visible()
    search.press("Escape")
    expect(found).to_be_hidden()
    site.page.locator("h1").click()
    site.page.keyboard.press("Control+k")
    expect(search).to_be_focused()
