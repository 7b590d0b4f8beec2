"""Hands at a browser: double clicks, the keyboard, a page left open, a phone's width, copying."""

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browsing import PHONE, Site, window
from tests.console.showcase import opened
from tests.console.test_pages_in_a_browser import Seeded, seeded
from tests.pipeline.world import event

__all__ = ["seeded"]  # a fixture


def api(site: Site, method: str, path: str, body: Any = None) -> Any:
    return opened(site.product).ask(method, path, body)


def test_a_double_click_makes_one_thing(site: Site, seeded: Seeded) -> None:
    """One destination, not two that look alike; and the button works again on the next page."""
    site.open("/console/destinations/new")
    site.page.get_by_label("Destination Name").fill("Clicked twice")
    site.page.get_by_label("Advertiser ID").fill("777")
    site.page.get_by_label("North America").check()
    site.page.get_by_label("Account Currency").select_option("USD")
    sent: list[str] = []
    site.page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    site.page.evaluate(
        """() => {
          const button = document.querySelector('form.card button:not([name])');
          button.click();
          setTimeout(() => button.click(), 0);
        }"""
    )
    expect(site.page.get_by_role("heading", level=1)).to_contain_text("Clicked twice")
    assert len(sent) == 1


def test_figures_move_on_while_the_keyboard_stays_where_it_is(site: Site, seeded: Seeded) -> None:
    """What was opened stays open, what had the focus keeps it, and the page does not stand still for it."""
    page, here = site.page, f"/console/destinations/{seeded.shop}"
    site.open(here)
    expect(page.locator("#live")).to_have_text("Live")
    summary = page.locator("#why-rejected > summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#why-rejected")).to_have_attribute("open", "")
    accepted = page.locator(".stage", has_text="Accepted").locator("b")
    before = int(accepted.inner_text())
    api(site, "POST", "/events", event(500, destination_id=seeded.shop))
    expect(accepted).to_have_text(str(before + 1))
    expect(page.locator("#why-rejected")).to_have_attribute("open", "")
    expect(page.locator("#why-rejected > summary")).to_be_focused()


# Holds the stream, and lets a test send updates of its own.
_STREAM = """
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  constructor() {
    super();
    this.readyState = 1;
    window.stream = this;
    setTimeout(() => this.dispatchEvent(new Event("open")));
  }
  close() { this.readyState = 2; }
};
window.update = (html) => window.stream.dispatchEvent(Object.assign(new Event("panel"), { data: html }));
"""
_UPDATES = """async (count) => {
  const panel = document.querySelector("[data-live]");
  const page = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html");
  const html = page.querySelector("[data-live]").innerHTML;
  for (let n = 0; n < count; n++) {
    const changed = html.replace(/data-series="\\[\\[(\\d+)/g, `data-series="[[${n}`);
    window.update(changed + `<p id="update">${n}</p>`);
    await new Promise((done) => setTimeout(done));
  }
}"""


def test_updates_leave_nothing_behind(site: Site, seeded: Seeded) -> None:
    """Listeners and nodes are the same after 500 updates, and a chart is not built again."""
    page = site.page
    page.add_init_script(_STREAM)
    site.open(f"/console/destinations/{seeded.shop}")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("document.querySelector('.chart canvas').drawn = true")
    browser = page.context.new_cdp_session(page)

    def counted() -> dict[str, float]:
        browser.send("HeapProfiler.collectGarbage")
        metrics = browser.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in metrics}

    browser.send("Performance.enable")
    page.evaluate(_UPDATES, 20)
    before = counted()
    page.evaluate(_UPDATES, 500)
    after = counted()
    assert page.locator("#update").inner_text() == "499"
    assert page.evaluate("document.querySelector('.chart canvas').drawn")
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 20
    assert after["Nodes"] <= before["Nodes"] * 1.1
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] * 1.2 + 500_000


def test_a_stream_that_a_proxy_refuses_is_opened_again(site: Site, seeded: Seeded) -> None:
    """Browsers give up for good after a 502; the page does not, and says meanwhile that it is not live."""
    page, answers = site.page, [502]
    page.route(
        "**/live?*", lambda route: route.fulfill(status=answers.pop()) if answers else route.continue_()
    )
    site.open(f"/console/destinations/{seeded.shop}")
    expect(page.locator("#live")).to_have_text("Reconnecting…")
    expect(page.locator("#live")).to_have_text("Live")
    site.complaints[:] = [one for one in site.complaints if "502" not in one]


def test_tabs_in_the_back_leave_the_connections_to_the_one_in_front(site: Site, seeded: Seeded) -> None:
    """Browsers open six to a host; with as many pages left open, the seventh loads, and goes live."""
    hidden = "Object.defineProperty(document, 'hidden', {get: () => window.away})"
    address = site.product.api + seeded.pages["destination"]
    for _ in range(6):
        tab = site.page.context.new_page()
        tab.add_init_script(hidden)
        tab.goto(address)
        expect(tab.locator("#live")).to_have_text("Live")
        tab.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
        expect(tab.locator("#live")).to_have_text("As of now")
    site.open(seeded.pages["destination"])
    expect(site.page.locator("#live")).to_have_text("Live")
    tab.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(tab.locator("#live")).to_have_text("Live")


# Counts what the stream brought, whatever the page makes of it.
_COUNTED = """
window.news = 0;
const listen = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (type, act) {
  listen.call(this, type, (sent) => { window.news += type === "panel"; act(sent); });
};
"""


def test_updates_wait_while_text_is_selected(site: Site, seeded: Seeded) -> None:
    """They are not sent again, and the page says that it is live."""
    site.page.add_init_script(_COUNTED)
    site.open(seeded.pages["destination"])
    expect(site.page.locator("#live")).to_have_text("Live")
    accepted = site.page.locator(".stage", has_text="Accepted").locator("b")
    before = int(accepted.inner_text())
    site.page.evaluate("getSelection().selectAllChildren(document.querySelector('#events'))")
    came = site.page.evaluate("window.news")
    api(site, "POST", "/events", event(700, destination_id=seeded.shop))
    site.page.wait_for_function("(came) => window.news > came", arg=came)
    assert accepted.inner_text() == str(before)
    site.page.evaluate("getSelection().removeAllRanges()")
    expect(accepted).to_have_text(str(before + 1))


def test_an_events_page_follows_the_event_to_its_end(site: Site, seeded: Seeded) -> None:
    """Held while the destination is paused; delivered, on the same page, once it is resumed."""
    here = f"/destinations/{seeded.shop}"
    api(site, "POST", f"{here}/pause")
    try:
        api(site, "POST", "/events", event(600, destination_id=seeded.shop))
        site.open(f"/console{here}/event?id=ord-600")
        expect(site.page.locator("h2 .pill").first).to_have_text("On hold (paused)")
    finally:
        api(site, "POST", f"{here}/resume")
    expect(site.page.locator("h2 .pill").first).to_have_text("Delivered")
    expect(site.page.locator("#live")).to_have_text("Settled")


@pytest.mark.parametrize("page", ["destination", "activate"])
def test_every_tab_is_in_sight_on_a_phone(site: Site, seeded: Seeded, page: str) -> None:
    """A tab that is only found by sliding the row aside is not found."""
    site.page.set_viewport_size(PHONE)
    site.open(seeded.pages[page])
    for row in (".tabs a", ".top nav a"):
        right = site.page.locator(row).last.bounding_box()
        assert right is not None
        assert right["x"] + right["width"] <= 390, row


def test_copying_works_where_browsers_offer_no_clipboard(site: Site, seeded: Seeded) -> None:
    """Over plain http on another machine than this there is none; and what is copied is what was shown."""
    site.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    site.page.add_init_script(
        "document.addEventListener('copy', () => { window.taken = String(getSelection()); })"
    )
    site.open(seeded.pages["activate"])
    button = site.page.locator("[data-copy=dst]")
    button.click()
    expect(button).to_have_text("Copied")
    assert site.page.evaluate("window.taken.trim()") == seeded.shop


def test_without_scripts_everything_can_still_be_done(browser: Browser, seeded: Seeded) -> None:
    """What a script would open stands on the page: a row of custom data, consent's sources, the questions."""
    with window(browser, seeded.product, java_script_enabled=False) as site:
        page, here = site.page, f"/console/destinations/{seeded.shop}"
        site.open(f"{here}/mappings/new")
        page.get_by_label("Mapping name").fill("By hand")
        page.get_by_label("Custom data: name on Amazon").last.fill("maker")
        page.get_by_label("Custom data: event field").last.fill("event.properties.brand")
        page.locator("input[name=consent][value=amazon]").check()
        page.get_by_label("User data: event field").fill("consent.user_data")
        page.get_by_role("button", name="Update results").click()
        expect(page.locator("#unsaved")).to_have_text("Unsaved changes")
        expect(page.locator('[id="r-fields.email"]')).to_contain_text("sha256:")
        page.get_by_role("group", name="Email", exact=True).get_by_role("button", name="More").click()
        email = page.get_by_role("group", name="Email", exact=True)
        email.get_by_label("Otherwise use").fill("contact.mail | trim")
        page.get_by_role("button", name="Save draft").click()
        expect(page.get_by_label("Custom data: name on Amazon").nth(1)).to_have_value("maker")
        expect(email.get_by_label("Otherwise use")).to_have_value("contact.mail | trim")
        expect(page.get_by_label("User data: event field")).to_have_value("consent.user_data")
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_role("heading", name="Mappings")).to_be_visible()
        expect(page.get_by_role("link", name="By hand")).to_have_count(0)


def test_taking_a_row_away_leaves_the_keyboard_beside_it(site: Site, seeded: Seeded) -> None:
    """In the row that takes its place, or at the button that adds one."""
    site.open(seeded.pages["mapping"])
    page, names = site.page, site.page.get_by_label("Custom data: event field")
    before = names.count()
    page.get_by_role("button", name="+ Add Mapping Field").click()
    expect(names).to_have_count(before + 1)
    for left in range(before, -1, -1):
        page.get_by_role("button", name="Remove this row").last.press("Enter")
        expect(names).to_have_count(left)
        expect(names.last if left else page.get_by_role("button", name="+ Add Mapping Field")).to_be_focused()


def test_the_help_of_a_list_follows_what_is_chosen(site: Site, seeded: Seeded) -> None:
    """Not what was chosen when the page was opened."""
    site.open(seeded.pages["mapping"])
    help_text = site.page.locator("#h-event_type")
    expect(help_text).to_contain_text("added to a shopping cart")
    site.page.locator("#f-event_type").select_option(label="Off-Amazon Purchases")
    expect(help_text).not_to_contain_text("added to a shopping cart")
    expect(help_text).to_contain_text("bought outside Amazon")


def test_limits_are_reported_while_typing(site: Site, seeded: Seeded) -> None:
    """Beside the help of each field that has one."""
    site.open(seeded.pages["new-destination"])
    site.page.get_by_label("Destination Name").fill("Acme")
    expect(site.page.locator("#h-name")).to_contain_text("4 of 200")


def test_the_fault_menu_calls_what_is_set_as_it_offers_it(site: Site, seeded: Seeded) -> None:
    """And takes it away again."""
    page = site.page
    page.goto(seeded.product.amazon + "/faults")
    page.get_by_label("For advertiser").fill("424242")
    page.get_by_role("button", name="A hidden rate limit").click()
    expect(page.get_by_role("row", name="424242")).to_contain_text("A hidden rate limit")
    page.get_by_role("button", name="Remove: A hidden rate limit").click()
    expect(page.get_by_text("No faults: the sandbox behaves normally.")).to_be_visible()


def test_reloading_the_page_that_shows_a_key_makes_no_second_one(site: Site, seeded: Seeded) -> None:
    """Nor does it show the first again."""
    site.open("/console/keys")
    site.page.get_by_label("Name").fill("once only")
    site.page.get_by_role("button", name="Create key").click()
    expect(site.page.locator("#secret")).to_be_visible()
    site.page.reload()
    expect(site.page.locator("#secret")).to_have_count(0)
    made = [one["name"] for one in api(site, "GET", "/keys?limit=200")["items"]]
    assert made.count("once only") == 1


def test_the_home_page_stays_live_after_a_search(site: Site, seeded: Seeded) -> None:
    """The stream follows what was searched; a range keeps the search, and the catalogue is one click away."""
    page, streams = site.page, list[str]()
    page.on("request", lambda one: streams.append(one.url) if "/console/live" in one.url else None)
    site.open("/console")
    expect(page.locator("#live")).to_have_text("Live")
    page.get_by_role("searchbox", name="Search destinations").fill("nothing like it")
    expect(page.get_by_text("No matches.")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    assert "q=nothing+like+it" in streams[-1]
    page.get_by_role("searchbox", name="Search destinations").fill("Amazon Conversions API")
    expect(page.locator("a.tile")).to_be_visible()
    page.get_by_role("searchbox", name="Search destinations").fill("")
    expect(page.locator(".fleet tbody tr").first).to_be_visible()
    page.get_by_role("link", name="7 d", exact=True).click()
    expect(page.get_by_role("link", name="7 d", exact=True)).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="Add destination").click()
    expect(page.get_by_label("Destination Name")).to_be_visible()


def test_the_tail_follows_pauses_and_ends_with_the_session(site: Site, seeded: Seeded) -> None:
    """A paused page keeps its rows; resumed it shows what came meanwhile; signed out it asks to sign in."""
    page = site.page
    site.open(f"/console/tail?destination={seeded.shop}")
    expect(page.locator("#live")).to_have_text("Live")
    api(site, "POST", "/events", event(801, destination_id=seeded.shop))
    expect(page.get_by_role("link", name="ord-801")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("Paused")
    api(site, "POST", "/events", event(802, destination_id=seeded.shop))
    expect(page.get_by_role("button", name="Resume")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("link", name="ord-802")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("link", name="ord-802")).to_be_visible()
    other = page.context.new_page()
    other.goto(site.product.api + "/console/settings")
    other.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in**")


def test_one_checkbox_selects_all_rows(site: Site, seeded: Seeded) -> None:
    """And shows when only some are; the next page counts those that were chosen."""
    advertiser = api(site, "GET", f"/destinations/{seeded.shop}")["advertiser_id"]
    case = opened(site.product)
    case.fault(advertiser, kind="partial", indexes=[0, 1], code="BAD_REQUEST")
    events = [event(number, destination_id=seeded.shop) for number in (811, 812)]
    api(site, "POST", "/events", {"events": events})
    page, here = site.page, f"/console/destinations/{seeded.shop}/events?status=dead"
    boxes = page.locator("input[name=event]")
    site.open(here)
    case.drain(seeded.shop)
    site.open(here)
    expect(boxes).to_have_count(2)
    assert site.check_accessible() == []
    selected = page.get_by_role("button", name="Replay or dismiss the selected")
    selected.click()
    expect(boxes.first).to_have_js_property("validationMessage", "Select at least one event.")
    every = page.get_by_label("Select all on this page")
    every.check()
    assert [box.is_checked() for box in boxes.all()] == [True, True]
    boxes.first.uncheck()
    assert every.evaluate("box => box.indeterminate") is True
    selected.click()
    expect(page.get_by_role("button", name="Replay 1")).to_be_visible()
    expect(page.get_by_role("button", name="Dismiss 1")).to_be_visible()
    assert site.check_accessible() == []
    case.heal()
