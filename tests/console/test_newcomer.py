"""The owner's document (R7 to R14) walked by a newcomer in a browser: from nothing to "1 delivered"."""

import re

from playwright.sync_api import expect

from tests.console.browsing import Site


def test_a_newcomer_gets_from_nothing_to_one_delivered(site: Site) -> None:
    """Catalogue, details, sign-in with Allow, mapping with preview, publish, test event, Events manager."""
    page = site.page
    site.open("/console")
    assert "/console/sign-in" in page.url
    site.sign_in()

    # R7: the catalogue is searched, opened, filled in.
    expect(page.get_by_text("No destination yet.")).to_be_visible()
    page.get_by_role("searchbox").fill("amazon")
    page.get_by_role("link", name="Amazon Conversions API").last.click()
    page.get_by_label("Destination Name").fill("Acme US")
    page.get_by_label("Advertiser ID").fill("ENTITY123")
    expect(page.get_by_text("This is an entity id.")).to_be_visible()
    page.get_by_label("Advertiser ID").fill("580123456789")
    expect(page.get_by_text("This is an entity id.")).not_to_be_visible()
    page.get_by_label("North America").check()
    page.get_by_label("Account Currency").select_option("USD")
    page.get_by_role("button", name="Create destination").click()

    # R8: Next is locked, with its reason, until Amazon said Allow.
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    expect(page.get_by_text("Next is locked until Amazon is connected")).to_be_visible()
    page.get_by_role("button", name="Connect Amazon Conversions API").click()
    expect(page.get_by_text("SANDBOX · this is not Amazon")).to_be_visible()
    page.get_by_label("Also show this advertiser id (optional)").fill("580123456789")
    page.get_by_role("button", name="Allow").click()
    expect(page.locator("#connected", has_text="Connected to Amazon")).to_be_visible()
    expect(page.get_by_text("the bootstrap key")).to_be_visible()
    page.get_by_role("link", name="Next", exact=True).click()

    # R9: a name, the action with its help, then the fields.
    page.get_by_label("Mapping name").fill("Cart")
    expect(page.get_by_text("Sends your conversion events to Amazon DSP through Journeys.")).to_be_visible()
    page.get_by_role("button", name="Map the fields").click()
    expect(page.get_by_label("Event Timestamp: event field")).to_have_value("event.timestamp")
    for heading in ("Event Attribute", "Match Keys", "Custom Data Fields", "Additional Settings"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.get_by_role("button", name="+ Add Mapping Field").click()
    expect(page.get_by_text("1 of 13")).to_be_visible()
    page.get_by_label("Custom data: name on Amazon").fill("brand")
    page.get_by_label("Custom data: event field").fill("event.properties.brand")

    # R10, R11: labels as people say them, consent in plain words, and a preview that follows.
    page.locator("#f-event_type").select_option(label="Add to Shopping Cart")
    page.locator("#f-event_source").select_option(label="Website")
    page.locator("#f-event_name").fill("Added to cart")
    expect(page.get_by_label("Country: default value")).to_have_value("US")
    expect(page.locator("#preview")).to_contain_text("Consent: Required.")
    page.locator("input[name=consent][value=granted]").check()
    preview = page.locator("#preview")
    expect(preview).to_contain_text('"conversionType": "ADD_TO_SHOPPING_CART"')
    expect(preview).to_contain_text('"amznAdStorage": "GRANTED"')
    expect(preview).to_contain_text("brand")
    expect(preview).not_to_contain_text("ada@example.com")
    page.get_by_role("button", name="Save and review").click()
    expect(page.get_by_role("cell", name="Added to cart")).to_be_visible()
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("in use")).to_be_visible()
    page.get_by_role("link", name="Next: activate").click()

    # R13: what the journey needs, and a marked test event.
    expect(page.locator("#url")).to_have_text(f"{site.product.api}/events")
    page.get_by_role("button", name="Send test event").click()
    expect(page.get_by_text("It is on its way to the sandbox.")).to_be_visible()
    page.get_by_role("link", name="Follow it").click()
    expect(page.get_by_text("Accepted and stored", exact=True)).to_be_visible()

    # The figures move by themselves while the page is open.
    page.get_by_role("link", name="Overview").click()
    delivered = page.locator(".station", has_text="Delivered").locator("b")
    expect(delivered).to_have_text("1", timeout=15_000)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.get_by_text("1 accepted = 1 delivered.")).to_be_visible()
    expect(page.locator(".notice", has_text="Healthy.")).to_be_visible()

    # R14: where to look, and that nothing there is not yet an error.
    expect(page.get_by_text(re.compile("No activity yet” is normal"))).to_be_visible()
    page.get_by_role("link", name="Open the sandbox's Events manager").click()
    expect(page.get_by_role("row", name="Added to cart ADD_TO_SHOPPING_CART WEBSITE")).to_contain_text("1")

    site.open("/console")
    expect(page.get_by_role("row", name="Acme US")).to_contain_text("Healthy")
