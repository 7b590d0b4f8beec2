"""Small things in a browser: errors that go when they are fixed, the menu, times, the organisation switch."""

import re

from playwright.sync_api import expect

from tests.console.browsing import Site
from tests.console.showcase import opened
from tests.pipeline.processes import Product


def test_an_error_disappears_when_it_is_fixed(site: Site) -> None:
    """And returns with the value that was refused."""
    site.allowed_failures.add(422)
    site.sign_in()
    site.open("/console/keys")
    page = site.page
    page.get_by_role("button", name="Create key").click()
    name = page.get_by_label("Name")
    expect(name).to_be_focused()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#p-name")).to_be_visible()
    name.fill("journey engine")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#p-name")).to_be_hidden()
    name.fill("")
    expect(page.locator("#p-name")).to_be_visible()


def test_the_menu_opens_and_closes_by_keyboard(site: Site) -> None:
    """Escape returns to its button."""
    site.sign_in()
    menu = site.page.locator("nav details.more > summary")
    menu.press("Enter")
    expect(site.page.get_by_role("link", name="Hash tester")).to_be_visible()
    site.page.keyboard.press("Escape")
    expect(site.page.get_by_role("link", name="Hash tester")).to_be_hidden()
    expect(menu).to_be_focused()


def test_a_time_has_a_date_a_zone_and_24_hours(site: Site, product: Product) -> None:
    """UTC is one hover away; the foot of the page names the zone."""
    opened(product).destination("Acme", "42", "NA", "USD")
    site.sign_in()
    site.open("/console/audit")
    expect(site.page.locator("tbody time").first).to_have_text(
        re.compile(r"^\d{1,2} \w{3,4} \d{4}, ([01]\d|2[0-3]):\d\d:\d\d UTC\+[12]$")
    )
    expect(site.page.locator("footer")).to_contain_text("Europe/Berlin (UTC+")


def test_an_organisation_is_switched_and_named_on_every_page(site: Site, product: Product) -> None:
    """Its destinations are shown, those of the other are not."""
    case = opened(product)
    case.destination("Of the default", "43", "NA", "USD")
    case.ask("POST", "/organisations", {"id": "acme", "name": "Acme Corp"})
    site.sign_in()
    page = site.page
    site.open("/console/organisations")
    page.get_by_role("button", name="Switch to Acme Corp").click()
    expect(page.get_by_role("status")).to_contain_text("You now act for another organisation.")
    expect(page.get_by_role("banner")).to_contain_text("Organisation: Acme Corp")
    site.open("/console")
    expect(page.locator("main")).not_to_contain_text("Of the default")
    site.open("/console/organisations")
    page.get_by_role("button", name="Switch to Default").click()
    site.open("/console")
    expect(page.locator("main")).to_contain_text("Of the default")
