"""Walks through the console in a browser, in which every click and typed field counts.

A newcomer follows the owner's document (R7 to R14) from nothing to "1 delivered". A marketer goes from
"Amazon shows fewer" to the causes.
"""

import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.console.browsing import Site
from tests.console.showcase import MAPPING, Showcase, opened

MOST_CLICKS = 12
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "console.md"


@dataclass
class Clicks:
    """The clicks of a walk, as the document lists them."""

    done: list[str] = field(default_factory=list)
    typed: int = 0  # fields

    def click(self, target: Locator, name: str) -> None:
        self.done.append(name)
        target.click()

    def type(self, target: Locator, text: str) -> None:
        self.typed += 1
        target.fill(text)

    def select(self, target: Locator, label: str, name: str) -> None:
        self.done.append(name)
        target.select_option(label=label)


def reload_until_visible(row: Locator) -> None:
    until = time.monotonic() + 60
    while not row.count():
        assert time.monotonic() < until
        row.page.wait_for_timeout(200)
        row.page.reload()


def test_a_newcomer_gets_from_nothing_to_one_delivered(anonymous: Site) -> None:
    """Catalogue, details, sign-in with Allow, mapping with preview, publish, test event, Events manager."""
    site, page, walk = anonymous, anonymous.page, Clicks()
    site.open("/console")
    assert "/console/sign-in" in page.url
    site.sign_in()

    # R7: the catalogue is searched, opened, filled in.
    expect(page.get_by_text("No destination yet.")).to_be_visible()
    page.get_by_role("searchbox", name="Search destinations").fill("amazon")
    walk.click(page.get_by_role("link", name="Amazon Conversions API").last, "Amazon Conversions API")
    page.get_by_label("Destination Name").fill("Acme US")
    page.get_by_label("Advertiser ID").fill("ENTITY123")
    expect(page.get_by_text("This is an entity id.")).to_be_visible()
    page.get_by_label("Advertiser ID").fill("580123456789")
    expect(page.get_by_text("This is an entity id.")).not_to_be_visible()
    walk.click(page.get_by_label("North America"), "Account Region")
    walk.select(page.get_by_label("Account Currency"), "USD", "Account Currency")

    # R8: the sign-in opens from the form; Next comes with the confirmation that it is connected.
    walk.click(
        page.get_by_role("button", name="Connect Amazon Conversions API"), "Connect Amazon Conversions API"
    )
    expect(page.get_by_text("SANDBOX · this is not Amazon")).to_be_visible()
    page.get_by_label("Also show this advertiser id (optional)").fill("580123456789")
    walk.click(page.get_by_role("button", name="Allow"), "Allow")
    expect(page.locator("#connected", has_text="Connected to Amazon")).to_be_visible()
    expect(page.get_by_text("the bootstrap key")).to_be_visible()
    walk.click(page.get_by_role("link", name="Next", exact=True), "Next")

    # R9: a name, the action with its help, and the fields on the same page.
    page.get_by_label("Mapping name").fill("Cart")
    expect(page.get_by_text("Sends your conversion events to Amazon DSP through Journeys.")).to_be_visible()
    expect(page.get_by_label("Event Timestamp: event field")).to_have_value("event.timestamp")
    for heading in ("Event Attribute", "Match Keys", "Custom Data Fields", "Additional Settings"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()

    # R10, R11: the type brings its name and its value, consent in plain words, results as one types.
    walk.select(page.locator("#f-event_type"), "Add to Shopping Cart", "Event Type")
    expect(page.locator("#f-event_name")).to_have_value("Added to cart")
    expect(page.get_by_label("Value: event field")).to_have_value("event.properties.total")
    expect(page.locator("#f-event_source")).to_have_value("WEBSITE")
    expect(page.get_by_label("Country: event field")).to_have_value("user.country")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Consent: Required.")
    expect(page.locator('[id="r-fields.email"]')).to_contain_text("sha256:")
    walk.click(page.locator("input[name=consent][value=granted]"), "Consent")
    expect(preview).to_contain_text('"conversionType": "ADD_TO_SHOPPING_CART"')
    expect(preview).to_contain_text('"amznAdStorage": "GRANTED"')
    expect(preview).not_to_contain_text("ada@example.com")
    walk.click(page.get_by_role("button", name="Publish"), "Publish")

    # R13: what the journey needs, its key, and a marked test event.
    expect(page.get_by_text("Version 1 published.")).to_be_visible()
    expect(page.locator("#url")).to_have_text(f"{site.product.api}/events")
    walk.click(page.get_by_role("button", name="Create key"), "Create key")
    expect(page.locator("#secret")).to_contain_text("ack_")
    walk.click(page.get_by_role("button", name="Send test event"), "Send test event")
    expect(page.get_by_text("The event is on its way to the sandbox.")).to_be_visible()
    destination = page.url.removesuffix("/activate")

    # R14: where to look, and that nothing there is not yet an error.
    walk.click(page.get_by_role("link", name="Open the sandbox's Events manager"), "Open the Events manager")
    counted = page.get_by_role("row", name="Added to cart ADD_TO_SHOPPING_CART WEBSITE")
    reload_until_visible(counted)
    expect(counted).to_contain_text("1")

    # The overview agrees; its figures move while the page is open.
    page.goto(destination)
    expect(page.locator(".stage", has_text="Delivered").locator("b")).to_have_text("1")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.get_by_text("1 accepted = 1 delivered.")).to_be_visible()
    expect(page.locator(".notice", has_text="Healthy.")).to_be_visible()
    expect(page.get_by_text(re.compile("No activity yet” is normal"))).to_be_visible()
    site.open("/console")
    expect(page.get_by_role("row", name="Acme US")).to_contain_text("Healthy")

    assert len(walk.done) <= MOST_CLICKS
    assert documented() == walk.done


def test_next_is_locked_until_amazon_is_connected(site: Site) -> None:
    """R8: with its reason, on the page of a destination that was created without connecting it."""
    page = site.page
    site.open("/console/destinations/new")
    page.get_by_label("Destination Name").fill("Not connected")
    page.get_by_label("Advertiser ID").fill("580999999999")
    page.get_by_label("Europe").check()
    page.get_by_label("Account Currency").select_option("EUR")
    page.get_by_role("button", name="Create destination").click()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    expect(page.get_by_text("Next is locked until Amazon is connected")).to_be_visible()
    page.get_by_role("button", name="Connect Amazon Conversions API").click()
    expect(page.get_by_text("SANDBOX · this is not Amazon")).to_be_visible()


ORDER = {
    "id": 5001, "created_at": None, "currency": "EUR", "total_price": "1249.90", "email": "",
    "contact_email": "ada@example.com", "customer": {"first_name": "Ada", "last_name": "Lovelace"},
    "billing_address": {"country_code": "DE", "phone": "0160 5551234", "city": "Berlin", "zip": "10115"},
    "line_items": [{"sku": "p-1", "price": "600.00", "quantity": 2, "vendor": "Acme"},
                   {"sku": "p-2", "price": "49.90", "quantity": 1, "vendor": "Acme"}],
}  # fmt: skip


def test_a_pasted_order_arrives_with_its_value(site: Site) -> None:
    """Nine clicks and three typed fields lead from home to the value in the sandbox: R7 to R14."""
    page, walk, advertiser = site.page, Clicks(), "2000000001"  # one that the sandbox knows
    site.open("/console")
    walk.click(page.get_by_role("link", name="Amazon Conversions API").last, "Amazon Conversions API")
    walk.type(page.get_by_label("Destination Name"), "Shop")
    walk.type(page.get_by_label("Advertiser ID"), advertiser)
    walk.click(page.get_by_label("Europe"), "Account Region")
    walk.select(page.get_by_label("Account Currency"), "EUR", "Account Currency")
    walk.click(
        page.get_by_role("button", name="Connect Amazon Conversions API"), "Connect Amazon Conversions API"
    )
    walk.click(page.get_by_role("button", name="Allow"), "Allow")
    walk.click(page.get_by_role("link", name="Next", exact=True), "Next")
    ordered = datetime.now(UTC) - timedelta(minutes=5)
    order = {**ORDER, "created_at": ordered.isoformat(timespec="seconds")}
    walk.type(page.locator("#sample"), json.dumps(order, indent=2))
    page.locator("#sample").dispatch_event("paste")  # `type` fills the field as pasting does
    expect(page.get_by_label("Email: event field")).to_have_value("contact_email")
    expect(page.locator('[id="r-fields.value"]')).to_have_text("1249.9")
    walk.click(page.get_by_role("button", name="Publish"), "Publish")
    expect(page.get_by_text("Version 1 published.")).to_be_visible()
    walk.click(page.get_by_role("button", name="Send test event"), "Send test event")
    walk.click(page.get_by_role("link", name="Open the sandbox's Events manager"), "Open the Events manager")
    sent = page.get_by_role("region", name="Latest events").get_by_role("row", name="Purchase")
    reload_until_visible(sent)
    assert sent.get_by_role("cell").all_text_contents()[1:4] == ["1249.9", "EUR", "3"]
    assert len(walk.done) == 9
    assert walk.typed == 3


def documented() -> list[str]:
    """Return the clicks that the console's document lists."""
    part = DOCUMENT.read_text().split("## From an empty instance to the first event")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. \*\*(.+?)\*\*", part, re.MULTILINE)


ACCEPTED = 160
SHOP: dict[str, Any] = {
    **MAPPING,
    "event_type": "OFF_AMAZON_PURCHASES",
    "event_name": "Order",
    "fields": {**MAPPING["fields"], "event_id": {"path": "event.properties.order_id"}},
    "consent": {"mode": "amazon", "user_data": {"path": "consent.user_data", "default": "granted"}},
}


def shop(case: Showcase, name: str, advertiser: str) -> None:
    """Make a shop whose orders lack consent, repeat an id, are refused, or have keys that do not work.

    Half of the phone numbers are under another name, and those that are mapped came hashed with `+`.
    """
    destination = case.shop(name, advertiser, document=SHOP)
    events = case.events(destination, ACCEPTED + 22)
    now = datetime.now(UTC).isoformat(timespec="seconds")  # all of one UTC day, which is compared with Amazon
    for number, each in enumerate(events):
        user = each["user"]
        each["event"]["timestamp"] = now
        phone = f"+1202555{number:04}"
        user["phone"] = hashlib.sha256(phone.encode()).hexdigest()
        if number % 2:
            user["mobile"] = phone
            del user["phone"]
        each["event"]["properties"]["order_id"] = f"ord-{number}"
    sent, denied, repeated = events[:ACCEPTED], events[ACCEPTED:-10], events[-10:]
    case.fault(advertiser, kind="partial", indexes=[0, 1, 2, 3], code="BAD_REQUEST")
    case.send(sent)
    case.drain(destination)
    for number, each in enumerate(repeated):
        each["event"]["properties"]["order_id"] = f"ord-{number}"
    for each in denied:
        each["consent"] = {"user_data": "denied"}
    case.client.post("/events", json={"events": [*denied, *repeated]})  # all are rejected


@pytest.mark.parametrize("width", [1280, 390])
def test_a_marketer_finds_each_cause_with_its_number_and_its_button(site: Site, width: int) -> None:
    """Three clicks and one typed number lead to all causes, and two more put a missing key into the draft."""
    case, page, walk, name = opened(site.product), site.page, Clicks(), f"Shop {width}"
    page.set_viewport_size({"width": width, "height": 844 if width < 600 else 900})
    site.open("/console")
    shop(case, name, f"58000000{width:04}")

    walk.click(page.get_by_role("link", name=name).first, name)
    walk.click(page.get_by_role("link", name="Match quality"), "Match quality")
    page.get_by_label("Amazon shows").fill("120")
    walk.click(page.get_by_role("button", name="Explain the difference"), "Explain the difference")
    assert len(walk.done) == 3
    expect(page.get_by_text("Amazon shows 120 of 156 conversions that it accepted from here")).to_be_visible()
    causes = [re.sub(r"\s+", " ", each) for each in page.locator(".causes li").all_inner_texts()]
    assert causes == [
        "12 events without consent: not sent. View rejected",
        "10 events with the id of an earlier event: not sent. View rejected",
        "4 events refused by Amazon. View errors",
        "85 events of the last 170 of mapping Cart: Phone Number came as a hash of an unknown rule. Amazon "
        "may recognise no person by it. Check a hash",
        "85 events of the last 170 of mapping Cart would gain Phone Number from user.mobile. View match keys",
    ]
    assert site.check_accessible() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    walk.click(page.get_by_role("link", name="Check a hash").first, "Check a hash")
    page.get_by_label("Field", exact=True).select_option(label="Phone Number")
    page.locator("#f-value").fill("+1 202 555 0000")
    page.locator("#f-hash").fill(hashlib.sha256(b"+12025550000").hexdigest())
    walk.click(page.get_by_role("button", name="Check hash"), "Check hash")
    expect(page.get_by_text("Rule: phone number with +.")).to_be_in_viewport()
    expect(page.get_by_text("Remove the + before hashing")).to_be_visible()

    page.get_by_label("Event ids of Amazon’s tag").fill("ord-1\nORD-2\n77_Order\nord-3_Order\n")
    walk.click(page.get_by_role("button", name="Compare ids"), "Compare ids")
    expect(page.get_by_text("1 of 4 ids match.")).to_be_in_viewport()
    expect(page.get_by_text("1 differs only by upper and lower case.")).to_be_visible()

    walk.click(page.get_by_role("button", name="Add to draft: user.mobile as Phone Number"), "Add to draft")
    expect(page.get_by_label("Phone Number: event field")).to_have_value("user.phone")
    expect(page.locator("textarea[name='fields.phone.others']")).to_have_value("user.mobile")
    walk.click(page.get_by_role("button", name="Save and review"), "Save and review")
    expect(page.get_by_role("heading", name="Publish: Cart")).to_be_visible()
    assert len(walk.done) == 8
