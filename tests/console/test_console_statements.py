"""The console says what an action did and since when a hold lasts; it preselects nothing of the account's.

A draft that loses match keys is published only by name, and a stale page publishes nothing.
"""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.responses import Response

from app.console import confirmations
from tests.api.test_backtests import PHONE, ready
from tests.api.world import ApiWorld
from tests.console.test_confirmations import Case
from tests.console.test_sessions import sign_in, submit


@pytest.mark.reads_only
@pytest.mark.parametrize(("url", "secure"), [("https://x.example", True), ("http://localhost", False)])
def test_the_word_is_as_secure_as_the_session(world: ApiWorld, url: str, secure: bool) -> None:
    """Over TLS the cookie is never sent in clear text, nor is its removal."""
    context = replace(world.context, public_url=url)
    removal = Response()
    confirmations.forget(context, removal)
    for response in (confirmations.redirect(context, "/console", "replayed", 4), removal):
        assert ("; Secure" in response.headers["set-cookie"]) is secure


async def test_region_and_currency_are_not_preselected(world: ApiWorld) -> None:
    """And a form without them says what is missing."""
    await sign_in(world)
    page = (await world.client.get("/console/destinations/new")).text
    assert " checked" not in page
    assert '<option value="" selected>Choose a value</option>' in page
    form = {"name": "Acme", "advertiser_id": "42", "currency": "", "region": ""}
    answer = await submit(world, "/console/destinations/new", **form)
    assert answer.status_code == 422
    assert answer.text.count('class="wrong"') >= 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("n" * 10_000, "Too long."), ("Acme\u202eSU", "Contains an invisible character")],
    ids=["ten kilobytes", "a direction mark"],
)
async def test_a_name_that_is_refused_stays_in_the_form(world: ApiWorld, name: str, sentence: str) -> None:
    """With what is wrong at each field; nothing is cut in silence."""
    await sign_in(world)
    answer = await submit(world, "/console/destinations/new", name=name, advertiser_id="1" * 10_000)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert "An advertiser ID has up to 32 digits" in answer.text
    assert f'value="{name}"' in answer.text


async def test_the_currency_follows_the_account_with_one_click(world: ApiWorld) -> None:
    """From the setup check; the overview offers the same."""
    await sign_in(world)
    made = (await world.create_destination(currency="USD"))["id"]
    await world.sql("UPDATE destinations SET sign_in = 'valid', published_mappings = 1")
    await world.sql("INSERT INTO amazon_accounts (destination, currency) VALUES (:id, 'CAD')", id=made)
    here = f"/console/destinations/{made}"
    assert ">Change to CAD</button>" in (await world.client.get(f"{here}/preflight")).text
    version = (await world.call("GET", f"/destinations/{made}")).json()["version"]
    form = {"version": str(version), "currency": "CAD"}
    assert (await submit(world, f"{here}/currency", **form)).status_code == 303
    assert (await world.call("GET", f"/destinations/{made}")).json()["currency"] == "CAD"
    assert "Currency changed" in (await world.client.get(here)).text


async def test_a_currency_that_no_event_can_have_is_not_offered_and_refused(world: ApiWorld) -> None:
    """The button was offered by both pages, and pressing it was refused. Each says why there is none."""
    await sign_in(world)
    made = (await world.create_destination(currency="USD"))["id"]
    await world.sql("UPDATE destinations SET sign_in = 'valid', published_mappings = 1")
    await world.sql("INSERT INTO amazon_accounts (destination, currency) VALUES (:id, 'XXX')", id=made)
    here = f"/console/destinations/{made}"
    for page in (here, f"{here}/preflight"):
        shown = (await world.client.get(page)).text
        assert "Change to" not in shown, page
        assert "Change it in the settings" not in shown, page
        assert "Amazon takes no events in XXX" in shown, page
    refused = await submit(world, f"{here}/currency", version="2", currency="XXX")
    assert refused.status_code == 422
    assert '<p class="wrong" id="p-currency">Choose an option from the list.</p>' in refused.text
    assert (await world.call("GET", f"/destinations/{made}")).json()["currency"] == "USD"


async def test_a_repeated_check_is_compared_with_from_then_on(world: ApiWorld) -> None:
    """The button offered the currency of the last sign-in, which was set already."""
    await sign_in(world)
    made = await world.create_destination(currency="USD")
    world.advertisers.currency = "USD"
    await world.connect(made)
    await world.publish_mapping(made["id"])
    here = f"/console/destinations/{made['id']}"
    world.advertisers.currency = "EUR"
    asked = (await submit(world, f"{here}/preflight/ask")).text
    assert re.findall(r">Change to (\w+)</button>", asked) == ["EUR"]
    assert ">Change to EUR</button>" in (await world.client.get(here)).text
    version = str((await world.call("GET", f"/destinations/{made['id']}")).json()["version"])
    await submit(world, f"{here}/currency", version=version, currency="EUR")
    assert "Change to" not in (await world.client.get(f"{here}/preflight")).text
    stale = await submit(world, f"{here}/currency", version=version, currency="USD")
    assert stale.status_code == 412
    assert "Someone else changed this" in stale.text


async def test_a_hold_keeps_its_beginning(world: ApiWorld, acme_id: str) -> None:
    """A later change of a setting does not move it; resuming ends it."""
    await world.sql("UPDATE destinations SET sign_in = 'valid', paused = true")
    ((paused,),) = await world.sql("SELECT paused_since FROM destinations")
    await world.sql("UPDATE destinations SET name = 'Other', updated_at = now() + interval '1 hour'")
    await world.sql("UPDATE destinations SET paused = true, sign_in = 'broken', sign_in_reason = 'revoked'")
    ((since, broken),) = await world.sql("SELECT paused_since, broken_since FROM destinations")
    assert since == paused
    assert timedelta(0) <= broken - paused < timedelta(minutes=1)
    await world.sql("UPDATE destinations SET paused = false WHERE id = :id", id=acme_id)
    assert await world.sql("SELECT paused_since, broken_since FROM destinations") == [(None, broken)]


BROKEN = {**PHONE, "phone": {"path": "user.fone"}}


@pytest.mark.parametrize("name", ["", "another name"])
async def test_a_draft_that_loses_match_keys_is_published_only_by_name(world: ApiWorld, name: str) -> None:
    """The form asks for the name; without it nothing is published."""
    _, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"fields": BROKEN})).json()
    await sign_in(world)
    page = f"/console{mapping}/publish"
    assert "Type the name of the mapping" in (await world.client.get(page)).text
    version = str(draft["version"])
    refused = await submit(world, page, version=version, name=name)
    assert refused.status_code == 422
    assert "Type the exact name of the mapping to publish it. Nothing was published." in refused.text
    assert (await world.call("GET", mapping)).json()["published_version"] == 1
    published = await submit(world, page, version=version, name=draft["name"])
    assert published.status_code == 303
    assert "Version 2 published." in (await world.client.get(published.headers["location"])).text


async def test_a_harmless_draft_needs_no_name(world: ApiWorld) -> None:
    """The page after an action shows its result."""
    destination, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"name": "Renamed"})).json()
    await sign_in(world)
    page = f"/console{mapping}/publish"
    assert "Type the name of the mapping" not in (await world.client.get(page)).text
    published = await submit(world, page, version=str(draft["version"]))
    text = (await world.client.get(published.headers["location"])).text
    assert "Version 2 published." in text
    assert f'href="/console{destination}/events">Events</a>' in text


async def test_a_stale_page_publishes_nothing(world: ApiWorld) -> None:
    """Someone else changed the draft after the page was opened."""
    _, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"name": "Renamed"})).json()
    await sign_in(world)
    answer = await submit(world, f"/console{mapping}/publish", version=str(draft["version"] - 1))
    assert answer.status_code == 412
    assert "Someone else changed this after you opened" in answer.text


_PAGE = "/console/destinations/{destination_id}"


def buttons(page: str) -> set[str]:
    return {text.strip() for text in re.findall(r"<button[^>]*>([^<]*)</button>", page)}


@pytest.mark.parametrize("also_paused", [False, True])
async def test_no_button_resumes_a_destination_of_a_suspended_organisation(
    case: Case, also_paused: bool
) -> None:
    """Only the organisation can be resumed, so that the buttons of the destination would do nothing."""
    if also_paused:
        await case.post(_PAGE + "/pause")
    await case.world.call("POST", "/organisations/default/suspend")
    page = (await case.world.client.get(_PAGE.format(**case.ids))).text
    assert not {"Resume", "Pause"} & buttons(page)
    assert re.search(r'class="pill[^>]*>Suspended<', page)
    assert "until the operator of this service resumes the organisation" in page
    assert not re.search(r'class="pill[^>]*>Paused<', page)
    assert "while the destination is paused" not in page
    home = (await case.world.client.get("/console")).text
    assert re.search(r'class="pill[^>]*>Suspended<', home)
    assert "Resume" not in buttons(home)


async def test_resuming_from_an_old_page_does_not_claim_that_events_are_sent(case: Case) -> None:
    """A page that was opened before the suspension still has the button."""
    await case.post(_PAGE + "/pause")
    await case.world.call("POST", "/organisations/default/suspend")
    answer = await case.post(_PAGE + "/resume")
    page = (await case.world.client.get(answer.headers["location"])).text
    assert "Waiting events are being sent" not in page
    assert "Nothing is sent until the service&#39;s operator resumes the organisation" in page
