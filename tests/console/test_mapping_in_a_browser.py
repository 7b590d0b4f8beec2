"""The mapping editor at a browser: picker, chips, samples, results, unsaved changes, a phone's preview."""

import re

from playwright.sync_api import Browser, expect

from tests.console.browsing import Site, window
from tests.console.test_pages_in_a_browser import Seeded, seeded

__all__ = ["seeded"]  # a fixture


def test_the_picker_is_used_by_keyboard_alone(site: Site, seeded: Seeded) -> None:
    """Suggested fields come first, with how many events have them; Escape closes, Enter chooses."""
    site.open(seeded.pages["mapping"])
    page = site.page
    field = page.get_by_label("Email: event field")
    with page.expect_response("**/preview"):  # which is dimmed meanwhile
        field.fill("")
        field.press("ArrowDown")
    first = page.get_by_role("listbox", name="Event fields").get_by_role("option").first
    expect(first).to_contain_text("user.email")
    expect(first).to_contain_text("suggested · 100 % of events · text")
    expect(first).to_have_attribute("aria-selected", "true")
    expect(field).to_have_attribute("aria-activedescendant", "picker-0")
    expect(page.locator("#preview")).not_to_have_attribute("aria-busy", "true")
    assert site.check_accessible() == []
    field.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("user.email")
    expect(field).to_be_focused()
    expect(page.locator('[id="r-fields.email"]')).to_contain_text("sha256:")


def test_the_picker_is_used_with_a_pointer_and_narrows_as_typed(site: Site, seeded: Seeded) -> None:
    """What does not match is left out."""
    site.open(seeded.pages["mapping"])
    page = site.page
    field = page.get_by_label("City: event field")
    page.get_by_text("More match keys").click()
    field.click()
    field.press_sequentially("brand")
    expect(page.get_by_role("option", name="user.email")).to_have_count(0)
    page.get_by_role("option", name="event.brand").click()
    expect(field).to_have_value("event.brand")
    expect(page.locator('[id="r-fields.city"]')).to_contain_text("sha256:")


def test_transforms_are_chips_that_can_be_added_and_removed(site: Site, seeded: Seeded) -> None:
    """The text stays as it is written in the mapping language; bars in quotes divide nothing."""
    site.open(seeded.pages["mapping"])
    page = site.page
    row = page.locator(".row", has=page.get_by_label("Custom data: event field")).first
    row.get_by_text("More").click()
    text = row.get_by_label("Transform", exact=True)
    text.fill('replace "|" "" | trim')
    expect(row.locator(".chip")).to_have_count(2)
    row.get_by_label("Add a transform").select_option("upper")
    expect(text).to_have_value('replace "|" "" | trim | upper')
    row.get_by_role("button", name="Remove trim").click()
    expect(text).to_have_value('replace "|" "" | upper')
    expect(row.locator(".result")).to_contain_text("TEXT")


def test_a_sample_is_chosen_or_pasted_and_every_row_follows(site: Site, seeded: Seeded) -> None:
    """Without loading the page, and without losing what was typed."""
    site.open(seeded.pages["mapping"])
    page = site.page
    page.locator("#f-event_name").fill("Typed")
    page.get_by_role("button", name="Example event").click()
    expect(page.locator("#sample")).to_have_value(re.compile("ada@example.com"))
    page.locator("#sample").fill('{"user": {"email": "none"}}')
    expect(page.locator('[id="r-fields.event_timestamp"]')).to_contain_text("which is absent")
    expect(page.locator("#f-event_name")).to_have_value("Typed")


def test_unsaved_changes_are_marked_and_survive_leaving(site: Site, seeded: Seeded) -> None:
    """The sign goes when the change is taken back; leaving asks; saving does not."""
    site.open(seeded.pages["mapping"])
    page, sign = site.page, site.page.locator("#unsaved")
    expect(sign).to_have_text("")
    before = page.locator("#f-event_name").input_value()
    page.locator("#f-event_name").fill("Another")
    expect(sign).to_have_text("Unsaved changes")
    page.locator("#f-event_name").fill(before)
    expect(sign).to_have_text("")
    page.get_by_role("button", name="+ Add Mapping Field").click()
    expect(sign).to_have_text("Unsaved changes")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Acme US")
    assert asked == ["beforeunload"]
    site.complaints.remove("dialog: beforeunload")


def test_the_sentence_at_a_row_hides_when_its_value_is_corrected(site: Site, seeded: Seeded) -> None:
    """Whichever input of the row has it; it returns with the value that was refused."""
    site.allowed_failures.add(422)
    site.open(seeded.pages["mapping"])
    page = site.page
    email, phone = (page.locator(f'[id="p-fields.{name}"]') for name in ("email", "phone"))
    page.get_by_label("Email: event field").fill("user..email")
    page.get_by_role("group", name="Phone").get_by_role("button", name="More").click()
    page.locator('[name="fields.phone.path"]').fill("user.phone")
    page.locator('[name="fields.phone.pipe"]').fill("shout")
    name = page.get_by_label("Event Name")
    name.fill("an\u200bother")
    page.get_by_role("button", name="Save draft").click()
    for sentence in (email, phone, page.locator("#p-event_name")):
        expect(sentence).to_be_visible()
    page.get_by_label("Email: event field").fill("user.email")
    expect(email).to_be_hidden()
    expect(page.get_by_label("Email: event field")).not_to_have_attribute("aria-invalid", "true")
    expect(phone).to_be_visible()
    page.locator('[name="fields.phone.pipe"]').fill("trim")
    expect(phone).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_visible()
    name.fill("another")
    expect(page.locator("#p-event_name")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.locator('[name="fields.phone.pipe"]').fill("shout")
    expect(phone).to_be_visible()
    expect(page.get_by_role("alert")).to_be_visible()


def test_enter_in_a_field_sends_nothing(site: Site, seeded: Seeded) -> None:
    """A mapping is saved and published by its buttons only."""
    site.open(seeded.pages["mapping-new"])
    posts: list[str] = []
    site.page.on("request", lambda one: posts.append(one.url) if one.method == "POST" else None)
    with site.page.expect_response("**/preview"):  # which follows later than a form that is sent
        site.page.get_by_label("Mapping name").fill("Cart")
        site.page.get_by_label("Mapping name").press("Enter")
    assert [url for url in posts if not url.endswith("/preview")] == []


def test_the_preview_stands_beside_the_fields_and_opens_over_them_on_a_phone(
    browser: Browser, seeded: Seeded
) -> None:
    """At 1280 both are in sight; at 390 one button opens it from wherever one is, and one closes it."""
    for width, beside in ((1280, True), (390, False)):
        with window(browser, seeded.product, (width, 844), color_scheme="dark", timezone_id="UTC") as site:
            site.open(seeded.pages["mapping"])
            page = site.page
            fields, preview = page.locator("#fields").bounding_box(), page.locator("#preview").bounding_box()
            assert fields is not None
            opener = page.get_by_role("link", name="Preview", exact=True)
            if beside:
                assert preview is not None
                assert preview["x"] > fields["x"] + 300
                expect(opener).to_be_hidden()
            else:
                assert preview is None
                assert page.evaluate("document.documentElement.scrollHeight") < 3_700
                page.get_by_label("Email: event field").scroll_into_view_if_needed()
                opener.click()
                expect(page.locator("#preview")).to_be_in_viewport()
                assert site.check_accessible() == []
                page.get_by_role("link", name="Close preview").click()
                expect(page.get_by_role("link", name="Close preview")).to_be_hidden()
