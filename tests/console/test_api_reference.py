"""The API reference in a browser: a key is entered, an event is sent, and nothing leaves the origin."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from app.admin import error_body
from app.api.events import intake
from app.api.events.intake import EXAMPLE_EVENT
from app.console.assets import ASSETS, compressed
from app.domain.admission import ShedReason
from app.domain.mapping.presets import EXAMPLE_MAPPING
from app.server.admission import shed_problem
from tests.console.browsing import Site, window
from tests.console.showcase import opened
from tests.pipeline.processes import ADMIN, Product


@pytest.fixture(scope="module")
def destination(product: Product) -> str:
    """A destination that accepts events."""
    return opened(product).shop("Acme US", "1000000001", document=EXAMPLE_MAPPING)


@pytest.fixture
def site(anonymous: Site) -> Site:
    """The reference needs no sign-in."""
    return anonymous


@pytest.fixture
def client(product: Product) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=product.api, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=20) as made:
        yield made


def with_key(site: Site) -> None:
    """Open the reference and enter a key."""
    site.open("/docs")
    site.page.get_by_label("Key", exact=True).fill(ADMIN)
    site.page.get_by_label("Key", exact=True).press("Tab")
    expect(site.page.locator("#key-help")).to_contain_text("The examples use the destination")


def operation(site: Site, name: str) -> Locator:
    """Open an operation, given as `POST /events`."""
    method, path = name.split()
    found = site.page.locator("details.op", has=site.page.locator(f"summary:has(.method.{method.lower()})"))
    one = found.filter(has=site.page.locator("summary code", has_text=path)).first
    one.locator("summary").first.click()
    expect(one.locator(".operation")).to_be_visible()
    return one


def test_an_event_is_sent_from_the_reference(site: Site, destination: str) -> None:
    """`POST /events` is the first operation; the example as it stands is answered with 202."""
    with_key(site)
    expect(site.page.locator("details.op").first).to_contain_text("POST /events")
    one = operation(site, "POST /events")
    one.get_by_role("button", name="Send request").click()
    expect(one.locator(".status")).to_contain_text("202")
    expect(one.get_by_label("Response body")).to_contain_text('"accepted": 1')


def test_the_examples_use_the_keys_destination_and_the_time_of_now(site: Site, destination: str) -> None:
    """In the body, in paths, and in code for curl, Python and JavaScript."""
    with_key(site)
    one = operation(site, "POST /events")
    body = json.loads(one.get_by_label("Request body").input_value())
    assert body["destination_id"] == destination
    assert body["mapping_id"].startswith("map_")
    assert body["mapping_id"] != EXAMPLE_EVENT["mapping_id"]
    assert body["event"]["timestamp"] != EXAMPLE_EVENT["event"]["timestamp"]
    one.get_by_text("As code", exact=True).click()
    for language, word in (("curl", "--data-binary"), ("Python", "urllib.request"), ("JavaScript", "fetch(")):
        one.get_by_label("Language").select_option(language)
        code = one.get_by_label(f"Example in {language}")
        expect(code).to_contain_text(word)
        expect(code).to_contain_text(destination)
    other = operation(site, "GET /destinations/{destination_id}")
    expect(other.get_by_label("destination_id")).to_have_value(destination)


def test_the_code_has_the_headers_that_are_sent(site: Site, destination: str) -> None:
    """A change with `If-Match` was shown as one of any version."""
    site.open("/docs")
    one = operation(site, "PATCH /destinations/{destination_id}")
    one.get_by_label("If-Match").fill('"3"')
    one.get_by_text("As code", exact=True).click()
    for language, header in (
        ("curl", """-H 'If-Match: "3"'"""),
        ("Python", r""", "If-Match": "\"3\"", "Content-Type": "application/json"}"""),
        ("JavaScript", r""", "If-Match": "\"3\"", "Content-Type": "application/json" }"""),
    ):
        one.get_by_label("Language").select_option(language)
        expect(one.get_by_label(f"Example in {language}")).to_contain_text(header)


def test_a_reason_leads_to_its_remedy(site: Site, destination: str) -> None:
    """From a response that was received, and from an example."""
    with_key(site)
    one = operation(site, "POST /events")
    field = one.get_by_label("Request body")
    body = json.loads(field.input_value())
    del body["event"]["timestamp"]
    field.fill(json.dumps({**body, "event_id": "without-time"}))
    site.allowed_failures.add(422)
    one.get_by_role("button", name="Send request").click()
    expect(one.locator(".status")).to_contain_text("422")
    one.get_by_label("Response body").get_by_role("link", name="timestamp_missing").click()
    expect(site.page.locator("#reason-timestamp_missing")).to_be_in_viewport()
    expect(site.page.locator("#reason-timestamp_missing")).to_contain_text("BAD_REQUEST")


def test_the_examples_are_real_responses(client: httpx.Client, destination: str) -> None:
    """The service returns each of them, to the event of the example and to one without a time."""
    mapping = client.get(f"/destinations/{destination}/mappings").json()["items"][0]["id"]
    now = json.loads(json.dumps(EXAMPLE_EVENT))
    now |= {"destination_id": destination, "mapping_id": mapping}
    now["event"]["timestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    bad = json.loads(json.dumps(now))
    bad["event_id"] = intake.OTHER_ID
    del bad["event"]["timestamp"]

    def posted(body: Any, path: str = "/events") -> tuple[int, Any]:
        answer = client.post(path, json=body)
        return answer.status_code, answer.json()

    assert posted([now, bad]) == (207, intake.SOME_REJECTED)
    assert posted(now) == (202, intake.DUPLICATE)
    assert posted(bad) == (422, intake.ALL_REJECTED)
    assert posted(now, "/events?dryrun=true") == (422, intake.NOT_READ)
    fresh = {**now, "event_id": "ord-1003:node-7"}
    fresh["event"] = {**now["event"], "properties": {"brand": "globex"}}
    status, body = posted(fresh)
    body["results"][0]["event_id"] = EXAMPLE_EVENT["event_id"]
    assert (status, body) == (202, intake.ACCEPTED)
    assert error_body(shed_problem(ShedReason.SHARE)) == intake.TOO_MANY


def test_the_page_is_light(client: httpx.Client) -> None:
    """With style sheets, scripts and the description, compressed: a third of what Swagger UI alone needed."""
    total = sum(
        int(answer.headers.get("content-length", 0))
        for path in ("/docs", "/openapi.json")
        for answer in [client.head(path, headers={"Accept-Encoding": "gzip"})]
    )
    names = ("console.css", "api_reference.css", "theme.js", "api_reference.js")
    total += sum(len(compressed(ASSETS[name].name)) for name in names)
    assert total < 150_000


def test_the_reference_fits_and_complains_of_nothing(site: Site) -> None:
    """Open or closed, at a desk and on a phone, no request elsewhere, no breach of the policy.

    At a desk the contrast is checked in the dark too, where a phone does not show all.
    """
    site.open("/docs")
    for name in ("POST /events", "GET /destinations", "POST /keys"):
        one = operation(site, name)
        for details in one.locator("details").all():
            details.evaluate("one => { one.open = true; }")

    def check(width: int, scheme: Any, *rules: str) -> tuple[bool, list[str]]:
        """Return whether the page is wider than the window, and what axe finds."""
        site.page.set_viewport_size({"width": width, "height": 900})
        site.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        too_wide = site.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return too_wide, site.check_accessible(*rules)

    assert check(1280, "light") == (False, [])
    assert check(1280, "dark", "color-contrast") == (False, [])
    assert check(390, "dark") == (False, [])
    assert site.complaints == []


def test_every_operation_opens(site: Site) -> None:
    """Each has at least a button and its responses."""
    site.open("/docs")
    expect(site.page.locator("details.op").first).to_be_visible()
    site.page.evaluate("for (const one of document.querySelectorAll('details.op')) one.open = true")
    shown = site.page.locator("details.op").count()
    expect(site.page.locator(".operation .primary")).to_have_count(shown)
    assert shown > 60


def test_an_operation_is_found_by_its_words(site: Site) -> None:
    """Also by words, and for a key, that were typed before the description arrived."""
    held: list[Route] = []
    site.page.route("**/openapi.json", lambda route: held.append(route))
    with site.page.expect_request("**/openapi.json"):
        site.open("/docs")
    site.page.get_by_label("Find an operation").fill("revoke a key")
    site.page.get_by_label("Key", exact=True).fill(ADMIN)
    site.page.get_by_label("Key", exact=True).blur()
    held[0].continue_()
    expect(site.page.locator("details.op:visible")).to_have_count(1)
    expect(site.page.locator("#key-help")).not_to_contain_text("Stays in this window")
    expect(site.page.locator("details.op:visible")).to_contain_text("/keys/{key_id}")


def test_without_javascript_the_operations_are_listed(browser: Browser, product: Product) -> None:
    """With a link to the description, and the table of reasons."""
    with window(browser, product, signed_in=False, java_script_enabled=False) as site:
        site.open("/docs")
        expect(site.page.get_by_text("POST /events", exact=True)).to_be_visible()
        expect(site.page.get_by_role("link", name="openapi.json", exact=True)).to_be_visible()
        expect(site.page.locator("#reason-timestamp_missing")).to_be_visible()
