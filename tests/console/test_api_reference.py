"""The API reference in a browser: a key is entered, an event is sent, and nothing leaves the origin."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browsing import Site
from tests.console.showcase import Showcase, opened
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import event


@pytest.fixture(scope="module")
def destination(product: Product) -> str:
    """A destination that accepts events."""
    case: Showcase = opened(product)
    made = case.destination("Acme US", "1000000001", "NA", "USD")
    case.connect(made)
    case.publish(made)
    return made


def test_an_event_is_sent_from_the_reference(site: Site, destination: str) -> None:
    """`POST /events` is the first operation; with a key its trial is answered with 202."""
    page = site.page
    site.open("/docs")
    expect(page.locator(".opblock").first).to_contain_text("/events")
    expect(page.locator(".opblock").first).to_contain_text("POST")
    page.get_by_role("button", name="Authorize").first.click()
    form = page.locator(".auth-container", has_text="bearer").first
    form.get_by_label("auth-bearer-value").fill(ADMIN)
    form.get_by_role("button", name="Apply credentials").click()
    form.get_by_role("button", name="Close").click()

    page.locator(".opblock .opblock-summary-control").first.click()
    body = page.locator(".opblock.is-open textarea.body-param__text").first
    expect(body).to_contain_text("event_id")
    body.fill(json.dumps(event(1, destination_id=destination)))
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table tr.response .response-col_status").first
    expect(answer).to_contain_text("202")
    expect(page.locator(".live-responses-table")).to_contain_text('"accepted": 1')


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def test_the_reference_fits_and_complains_of_nothing(
    browser: Browser, product: Product, width: int, scheme: Any
) -> None:
    """Open or closed, at a desk and on a phone, no request elsewhere, no breach of the policy."""
    window = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    site = Site(product, window.new_page())
    site.open("/docs")
    expect(site.page.locator(".opblock").first).to_be_visible()
    site.page.locator(".opblock .opblock-summary-control").first.click()
    expect(site.page.locator(".opblock.is-open .opblock-body").first).to_be_visible()
    too_wide = site.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    found = site.check_accessible()
    window.close()
    assert not too_wide
    assert site.complaints == []
    assert found == []


def test_without_javascript_the_operations_are_listed(browser: Browser, product: Product) -> None:
    """With a link to the description."""
    window = browser.new_context(java_script_enabled=False)
    page = window.new_page()
    page.goto(product.api + "/docs")
    expect(page.get_by_text("POST /events", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="openapi.json", exact=True)).to_be_visible()
    window.close()
