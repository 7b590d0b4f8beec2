"""A marketer walks from "Amazon shows fewer" to the causes, in a browser. Every click and typed field counts.

docs/evidence/match-quality.md has the walk. Who reads the page knows Amazon's number, and nothing else.
"""

import hashlib
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.console.browsing import Site
from tests.console.showcase import MAPPING, Showcase, opened
from tests.console.test_newcomer import Clicks

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
    for number, each in enumerate(events):
        user = each["user"]
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
