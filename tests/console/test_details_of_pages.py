"""Details of pages that a review found wrong: words, order, defaults, and what a phone shows."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.console.browsing import PHONE, Site
from tests.console.showcase import opened
from tests.pipeline.processes import Product
from tests.pipeline.world import event


@pytest.fixture(scope="module")
def shop(product: Product) -> str:
    """A destination with events, a refused one and a rejected one."""
    case = opened(product)
    made = case.shop("Acme EU", "1000000001")
    bad = event(9, destination_id=made)
    del bad["event"]["timestamp"]
    case.send([*case.events(made, 3), bad])
    case.drain(made)
    case.fault("1000000001", kind="partial", indexes=[0], code="BAD_REQUEST")
    case.send(case.events(made, 2))
    case.drain(made)
    case.heal()
    case.ask("POST", "/keys", {"name": "journey engine", "scopes": ["events:write"]})
    return made


@pytest.mark.parametrize(
    "page",
    [
        "events",
        "errors",
        "rejections",
        "requests",
        "journeys",
        "/console/incidents",
        "/console/keys",
        "/console/audit",
        "/console/sessions",
    ],
)
def test_a_list_is_cards_on_a_phone(site: Site, shop: str, page: str) -> None:
    """Each cell has the label of its column, and nothing is cut off at the right."""
    site.page.set_viewport_size(PHONE)
    site.open(page if page.startswith("/") else f"/console/destinations/{shop}/{page}")
    table = site.page.locator("main .scroll > table").first
    if table.count():
        expect(table).to_have_attribute("data-cards", "")
        assert site.page.locator("td[data-label]").count() > 0
        for cell in table.locator("tbody tr:first-child > *").all():
            place = cell.bounding_box()
            assert place is None or place["x"] + place["width"] <= 390, cell.inner_text()
    else:
        assert page == "/console/incidents"


def test_a_search_of_destinations_survives_a_reload(site: Site, shop: str) -> None:
    """And going back."""
    site.open("/console")
    site.page.get_by_role("searchbox", name="Search destinations").fill("Acme")
    site.page.wait_for_url("**q=Acme**")
    site.page.reload()
    box = site.page.get_by_role("searchbox", name="Search destinations")
    expect(box).to_have_value("Acme")
    site.page.get_by_role("link", name="Incidents", exact=True).click()
    site.page.go_back()
    expect(box).to_have_value("Acme")


@pytest.mark.parametrize(("status", "failed"), [("dead", 1), ("delivered", 0)])
def test_the_page_of_an_event_counts_its_failed_attempts(
    site: Site, shop: str, status: str, failed: int
) -> None:
    """Also in the facts beside the timeline that shows the attempt. One that delivered it did not fail."""
    site.open(f"/console/destinations/{shop}/events?status={status}")
    site.page.locator("td.wide a").first.click()
    facts = site.page.locator("dl.facts").inner_text()
    assert re.search(rf"Failed attempts\s+{failed}\b", facts)
    assert "Requests" not in facts.split("\n")


def test_lists_of_events_show_seconds(site: Site, shop: str) -> None:
    site.open(f"/console/destinations/{shop}/events")
    time = site.page.locator("#results tbody tr").first.locator("time")
    expect(time).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))


def test_an_incomplete_form_leads_to_its_first_error(site: Site, shop: str) -> None:
    """The region comes before the currency; its group is outlined."""
    site.open("/console/destinations/new")
    assert "✓" not in site.page.locator(".about").inner_text()
    site.allowed_failures.add(422)
    site.page.get_by_label("Destination Name").fill("Without region")
    site.page.get_by_label("Advertiser ID").fill("777")
    site.page.get_by_role("button", name="Create destination").click()
    expect(site.page.locator("#f-region")).to_be_focused()
    style = site.page.locator("#f-region").evaluate("one => getComputedStyle(one).outlineStyle")
    assert style == "solid"
    expect(site.page.locator("#p-region")).to_be_visible()
    site.page.get_by_label("Europe").check()
    expect(site.page.locator("#p-region")).to_be_hidden()


def test_connecting_is_confirmed_without_repetition(product: Product, site: Site, shop: str) -> None:
    """The confirmation and the box with "Next"; no pill and no check repeats the word."""
    made = opened(product, seed=8).destination("Just connected", "1000000002", "NA", "USD")
    site.open(f"/console/destinations/{made}")
    site.page.get_by_role("button", name="Connect Amazon Conversions API").click()
    site.page.get_by_role("button", name="Allow").click()
    expect(site.page.get_by_role("link", name="Next")).to_be_visible()
    words = site.page.locator("main").inner_text()
    assert len(re.findall(r"✓ Connected to Amazon", words)) == 1
    assert "See the failed checks above" not in words


def test_reasons_are_words_in_sentences(site: Site, shop: str) -> None:
    site.open(f"/console/destinations/{shop}")
    diagnosis = site.page.get_by_label("Diagnosis")
    expect(diagnosis).to_contain_text("Reason: Amazon rejected the event.")
    assert "amazon refused" not in site.page.locator("main").inner_text()


def test_a_test_event_is_followed_to_its_delivery(site: Site, shop: str) -> None:
    """Without a reload, in the list of arrivals beside the form."""
    site.open(f"/console/destinations/{shop}/activate")
    site.page.get_by_role("button", name="Send test event").click()
    expect(site.page.locator("#test-result")).to_contain_text("console-test-")
    arrivals = site.page.locator("[data-live]")
    expect(arrivals).to_contain_text("console-test-")
    expect(arrivals).to_contain_text("Delivered")


def test_ids_of_mappings_are_copied_one_by_one(site: Site, shop: str) -> None:
    site.open(f"/console/destinations/{shop}/activate")
    expect(site.page.get_by_role("button", name=re.compile("^Copy the ID of "))).to_have_count(1)


def test_the_privacy_page_chooses_a_destination_from_a_menu(site: Site, shop: str) -> None:
    """Sixty bullets with small links were the one violation of axe."""
    site.open("/console/privacy")
    expect(site.page.locator("select[name=destination]")).to_be_visible()
    assert site.check_accessible() == []


def test_the_page_of_all_events_lists_the_newest(site: Site, shop: str) -> None:
    site.open("/console/events")
    assert site.page.locator("#results tbody tr").count() >= 4


def test_the_form_of_a_new_organisation_stands_at_the_left(site: Site, shop: str) -> None:
    site.open("/console/organisations")
    table, form = (site.page.locator(each).bounding_box() for each in ("section.card", "form.card"))
    assert table is not None
    assert form is not None
    assert abs(table["x"] - form["x"]) < 2


def test_the_chart_of_an_incident_is_drawn(site: Site, shop: str) -> None:
    """Its page loads the same files as the overview, and marks when the incident was opened."""
    incident = site.page.get_by_role("link", name="Events failed permanently")
    site.open("/console")
    expect(site.page.locator(".incidents")).to_contain_text(
        "1 event failed permanently. Amazon’s newest message: “"
    )
    incident.first.click()
    expect(site.page.locator(".chart canvas")).to_be_visible()
    assert site.page.locator(".chart").get_attribute("data-mark")
    assert site.check_accessible() == []
    assert site.complaints == []


def test_an_error_disappears_when_it_is_fixed(site: Site) -> None:
    """And returns with the value that was refused."""
    site.allowed_failures.add(422)
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
    name.fill("journey engine")
    limited = page.get_by_label("Limited to")
    limited.evaluate("(one) => { one.options[1].value = 'dst_0'; one.selectedIndex = 1; }")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#p-destination_id")).to_be_visible()
    limited.select_option(index=1)
    expect(page.locator("#p-destination_id")).to_be_hidden()


def test_the_menu_opens_and_closes_by_keyboard(site: Site) -> None:
    """Escape returns to its button."""
    site.open("/console")
    menu = site.page.locator("nav details.more > summary")
    menu.press("Enter")
    expect(site.page.get_by_role("link", name="Hash tester")).to_be_visible()
    site.page.keyboard.press("Escape")
    expect(site.page.get_by_role("link", name="Hash tester")).to_be_hidden()
    expect(menu).to_be_focused()


def test_a_repeated_enter_confirms_nothing(site: Site) -> None:
    """A dialog with a dangerous button begins at Cancel."""
    site.open("/console/organisations")
    site.page.get_by_role("button", name="Suspend Default").press("Enter")
    expect(site.page.get_by_role("button", name="Cancel")).to_be_focused()


def test_a_time_has_a_date_a_zone_and_24_hours(site: Site, product: Product) -> None:
    """UTC is one hover away; the foot of the page names the zone."""
    opened(product).destination("Acme", "42", "NA", "USD")
    site.open("/console/audit")
    expect(site.page.locator("tbody time").first).to_have_text(
        re.compile(r"^\d{1,2} \w{3,4} \d{4}, ([01]\d|2[0-3]):\d\d:\d\d UTC\+[12]$")
    )
    expect(site.page.locator("footer")).to_contain_text("Europe/Berlin (UTC+")


def test_a_search_without_an_index_continues_until_it_finds_something(site: Site) -> None:
    """It shows how much it has searched, and ends when it is stopped."""
    case = opened(site.product)
    case.send(case.events(case.shop("Searched", "1000000001"), 1))
    asked = []

    def serve(route: Route) -> None:
        """Answer as a search of many events: nothing on the first two pages, then the newest events."""
        asked.append(route.request.url)
        if "cursor=second" in route.request.url:
            route.fulfill(response=route.fetch(url=f"{site.product.api}/console/events"))
            return
        following = "first" if "cursor" not in route.request.url else "second"
        page = route.fetch(url=f"{site.product.api}/console/events?status=expired").text()
        progress = (
            f'<p data-continues="/console/events?status=expired&amp;cursor={following}">'
            'Searched 12 of 30 days. <button type="button" data-stop hidden>Stop</button></p>'
        )
        html = page.replace('<div id="results">', f'<div id="results">{progress}')
        route.fulfill(body=html, content_type="text/html; charset=utf-8")

    site.page.route("**/console/events?status=expired**", serve)
    site.open("/console/events?status=expired")
    expect(site.page.locator("#results tbody tr").first).to_be_visible()
    assert len(asked) == 3
    assert site.page.url.endswith("cursor=second")

    site.page.unroute("**/console/events?status=expired**")

    def hang(route: Route) -> None:
        if "cursor" not in route.request.url:
            serve(route)

    site.page.route("**/console/events?status=expired**", hang)
    site.open("/console/events?status=expired")
    expect(site.page.get_by_text("Searched 12 of 30 days.")).to_be_visible()
    site.page.get_by_role("button", name="Stop").click()
    expect(site.page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_search_that_fails_says_so_and_is_tried_again(site: Site) -> None:
    """Without a response, with an error of the service, and after the session ended."""
    site.allowed_failures.add(503)
    page, answers = site.page, ["abort", "503", "redirect"]

    def serve(route: Route) -> None:
        """Answer as a search that found nothing yet, and fail each time that it is continued."""
        if "cursor" in route.request.url:
            answer = answers.pop(0)
            if answer == "abort":
                route.abort()
            elif answer == "503":
                route.fulfill(status=503, body="unavailable")
            else:
                route.fulfill(status=303, headers={"Location": f"{site.product.api}/console/incidents"})
            return
        html = route.fetch().text()
        progress = (
            '<p data-continues="/console/events?status=expired&amp;cursor=x">Searched 12 of 30 days. '
            '<button type="button" data-stop hidden>Stop</button></p>'
        )
        body = html.replace('<div id="results">', f'<div id="results">{progress}')
        route.fulfill(body=body, content_type="text/html; charset=utf-8")

    page.route("**/console/events?status=expired**", serve)
    site.open("/console/events?status=expired")
    for _ in range(2):
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The search stopped: no response from the service.")
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        alert.get_by_role("button", name="Try again").click()
    page.wait_for_url("**/console/incidents")
    assert answers == []
    site.complaints[:] = [each for each in site.complaints if "ERR_FAILED" not in each]
