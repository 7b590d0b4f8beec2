"""Every page in a browser: accessible, silent, from one origin, and unmoved by hostile names."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.browsing import Site
from tests.console.showcase import newest_request
from tests.console.test_sessions import ROUTES
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import MAPPING, event


@dataclass
class Seeded:
    """A product with something on every page."""

    product: Product
    destination: str
    mapping: str
    draft: str
    replay: str
    request: str

    @property
    def pages(self) -> dict[str, str]:
        here = f"/console/destinations/{self.destination}"
        return {
            "destinations": "/console",
            "new destination": "/console/destinations/new",
            "destination": here,
            "draft destination": f"/console/destinations/{self.draft}",
            "mappings": f"{here}/mappings",
            "new mapping": f"{here}/mappings/new",
            "mapping": f"{here}/mappings/{self.mapping}",
            "publish": f"{here}/mappings/{self.mapping}/publish",
            "versions": f"{here}/mappings/{self.mapping}/versions",
            "copy of a mapping": f"{here}/mappings/{self.mapping}/copy",
            "search of everything": "/console/find?q=a",
            "requests": f"{here}/requests",
            "request": f"{here}/requests/{self.request}",
            "components": "/console/components",
            "activate": f"{here}/activate",
            "events": f"{here}/events",
            "events that can be chosen": f"{here}/events?status=dead",
            "event": f"{here}/event?id=ord-1",
            "rejected event": f"{here}/event?id=ord-77",
            "errors": f"{here}/errors",
            "rejections": f"{here}/rejections",
            "replays": f"{here}/replays",
            "journeys": f"{here}/journeys",
            "tail": "/console/tail",
            "tail of a destination": f"/console/tail?destination={self.destination}",
            "destination settings": f"{here}/settings",
            "preflight": f"{here}/preflight",
            "preflight of a draft": f"/console/destinations/{self.draft}/preflight",
            "event-schema": f"{here}/event-schema",
            "match quality": f"{here}/match-quality",
            "empty event schema": f"/console/destinations/{self.draft}/event-schema",
            "consent": f"{here}/consent",
            "replay": f"{here}/replay?status=dead",
            "progress of a replay": f"{here}/replays/{self.replay}",
            "event search": "/console/events?status=delivered",
            "execution search": "/console/events?q=run-1",
            "destination notifications": f"{here}/notifications",
            "incidents": "/console/incidents",
            "event names": "/console/event-names",
            "event name": "/console/event-names/1000000001/ADD_TO_SHOPPING_CART",
            "notifications": "/console/notifications",
            "system": "/console/system",
            "hash tester": "/console/hash-tester",
            "privacy": "/console/privacy",
            "organisations": "/console/organisations",
            "keys": "/console/keys",
            "sessions": "/console/sessions",
            "audit": "/console/audit",
            "settings": "/console/settings",
            "signed out": "/console/signed-out",
        }


@pytest.fixture(scope="module")
def seeded(product: Product) -> Iterator[Seeded]:
    """A destination that sends, one that is a draft, a key, and events delivered and rejected."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with httpx.Client(base_url=product.api, headers=headers, timeout=20) as client:

        def ask(method: str, path: str, body: Any = None) -> Any:
            answer = client.request(method, path, json=body)
            assert answer.status_code in (200, 201, 202, 207), answer.text
            return answer.json()

        details = {"name": "Acme US", "advertiser_id": "1000000001", "region": "NA", "currency": "USD"}
        made = ask("POST", "/destinations", details)["id"]
        parts = urlsplit(ask("POST", f"/destinations/{made}/connect")["authorize_url"])
        form = {**dict(parse_qsl(parts.query)), "decision": "allow", "advertiser_id": "1000000001"}
        allowed = httpx.post(f"{parts.scheme}://{parts.netloc}{parts.path}", data=form, timeout=30)
        client.get(allowed.headers["location"], headers={"Accept": "application/json"})
        mapping = ask("POST", f"/destinations/{made}/mappings", MAPPING)["id"]
        ask("POST", f"/destinations/{made}/mappings/{mapping}/publish")
        ask("POST", "/events", {"events": [event(n, destination_id=made) for n in range(5)]})
        bad = {**event(77, destination_id=made), "event": {"name": "x"}}
        ask("POST", "/events", {"events": [bad, event(78, destination_id=made)]})
        ask("POST", "/keys", {"name": "journey", "scopes": ["events:write"]})
        draft = ask("POST", "/destinations", {**details, "name": "A draft", "advertiser_id": "42"})["id"]
        until = time.monotonic() + 60
        while ask("GET", f"/destinations/{made}/stats")["counts"]["delivered"] < 6:
            assert time.monotonic() < until
        selection = {"status": "dead", "dry_run": False}
        replay = ask("POST", f"/destinations/{made}/replay", selection)["replay_id"]
        request = newest_request(product, made)
        yield Seeded(product, made, mapping, draft, replay, request)


# Not a page: a stream, a fragment, a file, or a step of a sign-in. An incident is looked at in its own test.
NO_PAGE = re.compile(
    r".*(/live|\.csv|/export|/receipt|/static/.*|/hints/.*|/oidc/.*|/sign-in|/incidents/{incident_id})|/docs"
    r"|/console/"
)


def test_every_page_is_looked_at(seeded: Seeded) -> None:
    """A new page of the router must be in the list above."""
    opened = [path.split("?")[0] for path in seeded.pages.values()]
    missing = [
        path
        for path, method, _ in ROUTES
        if method == "GET" and not NO_PAGE.fullmatch(path)
        if not any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), address) for address in opened)
    ]
    assert missing == []


# Pages with headings of tables, lines of trends and forms that a phone shows in another way.
WIDER = {"destinations", "destination", "events", "mapping", "journeys", "audit"}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: Browser, seeded: Seeded, width: int, scheme: Any
) -> None:
    """On every page, light at a desk and dark on a phone, without errors in the browser's console.

    At a desk the contrast is checked in the dark too, where a phone does not show all.
    """
    window = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    site = Site(seeded.product, window.new_page())
    site.open("/console/sign-in")
    found = {"sign-in": site.check_accessible()}
    site.sign_in()
    for name, path in seeded.pages.items():
        site.open(path)
        expect(site.page.locator("main")).to_be_visible()
        found[name] = site.check_accessible()
        if site.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found[name].append("the page is wider than the window")
        if scheme == "light" and name in WIDER:
            site.page.emulate_media(color_scheme="dark")
            found[name] += [f"dark: {problem}" for problem in site.check_accessible("color-contrast")]
            site.page.emulate_media(color_scheme=scheme)
    window.close()
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
HOSTILE = {
    "markup and a template": "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}${7*7}#{7*7}",
    "an attribute and right to left": '" autofocus onfocus="alert(3)" x=\' שלום עולם مرحبا',
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_rendered_as_text(site: Site, seeded: Seeded, name: str) -> None:
    """For a destination, a mapping and a key, on every page that shows it: no dialog, no markup."""
    site.sign_in()
    page = site.page
    site.open("/console/destinations/new")
    page.get_by_label("Destination Name").fill(name)
    page.get_by_label("Advertiser ID").fill("4242")
    page.get_by_label("North America").check()
    page.get_by_label("Account Currency").select_option("USD")
    page.get_by_role("button", name="Create destination").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    here = page.url.split("?")[0]
    site.open(urlsplit(here).path + "/mappings/new")
    page.get_by_label("Mapping name").fill(name)
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_role("heading", level=2).first).to_contain_text(name)
    site.open("/console/keys")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create key").click()
    expect(page.locator(".notice.good")).to_contain_text(name)
    for path in ("/console", "/console/audit", urlsplit(here).path, urlsplit(here).path + "/settings"):
        site.open(path)
        expect(page.locator("body")).to_contain_text(name if path != "/console/audit" else "created a key")


def test_ten_kilobytes_in_every_field_are_refused_with_a_sentence(site: Site, seeded: Seeded) -> None:
    """The form comes back with what was typed and what is wrong; nothing is cut in silence."""
    site.allowed_failures.add(422)
    site.sign_in()
    site.open("/console/destinations/new")
    site.page.evaluate(
        "document.querySelectorAll('form.card input').forEach(one => one.removeAttribute('maxlength'))"
    )
    site.page.get_by_label("Destination Name").fill("n" * 10_000)
    site.page.get_by_label("Advertiser ID").fill("1" * 10_000)
    site.page.get_by_role("button", name="Create destination").click()
    expect(site.page.get_by_text("Too long.")).to_be_visible()
    expect(site.page.get_by_text("An advertiser ID has up to 32 digits").first).to_be_visible()
    expect(site.page.get_by_label("Destination Name")).to_have_value("n" * 10_000)


def test_a_direction_mark_in_a_name_is_refused(site: Site, seeded: Seeded) -> None:
    """A name that would turn the text around it about is not taken."""
    site.allowed_failures.add(422)
    site.sign_in()
    site.open("/console/destinations/new")
    site.page.get_by_label("Destination Name").fill("Acme\u202eSU")
    site.page.get_by_label("Advertiser ID").fill("4242")
    site.page.get_by_role("button", name="Create destination").click()
    expect(site.page.get_by_text("Contains an invisible character")).to_be_visible()


def test_the_second_name_of_an_event_type_is_answered_with_both(site: Site, seeded: Seeded) -> None:
    """R12: the page shows the pinned and the new name, and takes the pinned one at a click."""
    site.sign_in()
    page, here = site.page, f"/console/destinations/{seeded.destination}/mappings/{seeded.mapping}"
    site.open(here)
    pinned = page.locator("#f-event_name").input_value()
    page.locator("#f-event_name").fill("Another name")
    expect(page.locator("#preview")).to_contain_text("event_name_conflict")
    expect(page.locator("#r-event_name")).to_contain_text(f"under the name “{pinned}”")
    page.get_by_role("button", name="Save and review").click()
    expect(page.get_by_role("button", name="Publish")).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text("One event type has one name.")
    expect(page.get_by_role("alert")).to_contain_text("Another name")
    page.get_by_role("button", name=f"Use “{pinned}” here").click()
    expect(page.get_by_text("No unpublished changes")).to_be_visible()


def test_a_preview_that_is_fetched_is_dimmed_and_one_that_fails_says_so(site: Site, seeded: Seeded) -> None:
    """Loading and error states: beside what was typed, which stays."""
    site.sign_in()
    page = site.page
    site.open(f"/console/destinations/{seeded.destination}/mappings/{seeded.mapping}")
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
        "new destination",
        "destination settings",
        "new mapping",
        "mapping",
        "keys",
        "event name",
        "hash tester",
    ],
)
def test_every_field_has_its_help(site: Site, seeded: Seeded, page: str) -> None:
    """Beside it, and read with it; rows of custom data share the help above them."""
    site.sign_in()
    site.open(seeded.pages[page])
    assert site.page.evaluate(_UNHELPED) == []


def test_times_are_the_viewers_and_utc_on_hover(site: Site, seeded: Seeded) -> None:
    """The browser stands in Berlin; hovering says UTC."""
    site.sign_in()
    site.open(seeded.pages["event"])
    time_ = site.page.locator(".trace time").first
    expect(time_).to_have_attribute("title", _HOVER)


def test_the_keyboard_alone_reaches_the_search_and_skips_to_the_content(site: Site, seeded: Seeded) -> None:
    """The first tab stop is the skip link; a slash or Ctrl+K goes to the search, which answers as typed."""
    site.sign_in()
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
