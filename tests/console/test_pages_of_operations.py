"""Audit, event names, hash tester, privacy, notifications, system: what the pages find, change and hide."""

import csv
import io
import re

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import Scope
from app.admin.access.people import ROLES, PersonRole
from tests.console.test_confirmations import Case, D
from tests.console.test_sessions import csrf, sign_in
from tests.store.test_audit_chain import tamper_with

PERSON = "ada.lovelace@example.com"


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("kind=key", "created a key", "published the mapping"),
        ("action=mapping.published", "published the mapping", "created a key"),
        ("actor=bootstrap", "created a key", "No matching entries"),
        ("actor=the+bootstrap+key", "created a key", "No matching entries"),
        ("actor=key_1", "No matching entries", "created a key"),
        ("since=2020-01-01&until=2020-12-31", "No matching entries", "created a key"),
        ("since=2020-01-01&until=2999-12-31", "created a key", "No matching entries"),
        ("since=soon", "Write days as YYYY-MM-DD", "No matching entries"),
    ],
)
async def test_the_audit_is_filtered(case: Case, query: str, shown: str, hidden: str) -> None:
    """By actor, kind, action and day; a day that cannot be read is named."""
    rows = (await case.get(f"/console/audit?{query}")).split("</form>", 4)[-1]
    page = await case.get(f"/console/audit?{query}")
    assert shown in (page if "Write days" in shown else rows)
    assert hidden not in rows


async def test_the_audit_is_filtered_by_target_and_exported(case: Case) -> None:
    """The export has the filtered rows and every column."""
    key = case.ids["key_id"]
    page = await case.get(f"/console/audit?target={key}")
    assert f'href="/console/keys#{key}"' in page
    assert "Chain verified: this entry" in page
    exported = await case.world.client.get(f"/console/audit/export?file=csv&target={key}")
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert [row["subject"] for row in rows] == [key]
    lines = await case.world.client.get("/console/audit/export?file=ndjson&kind=mapping")
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert all('"mapping.' in line for line in lines.text.splitlines())


async def test_the_audit_is_written_in_words(case: Case) -> None:
    """No JSON: scopes as a list, yes and no."""
    page = await case.get("/console/audit?kind=key")
    assert "events:read" in page
    assert "[&#34;events:read" not in page
    assert ">null<" not in page


async def test_an_altered_entry_is_marked(case: Case, engine: AsyncEngine) -> None:
    """Its hash does not match; the whole chain names it."""
    await tamper_with(engine, "UPDATE audit SET actor = 'key_2' WHERE action = 'key.created'")
    assert "1 of these entries was altered" in await case.get("/console/audit")
    assert "The chain breaks at audit row" in (await case.post("/console/audit/verify")).text


async def test_the_complete_chain_is_verified_on_request(case: Case) -> None:
    """Only the platform learns how many rows all organisations have."""
    assert re.search(
        r"Chain verified: no row of \d+ rows was changed", (await case.post("/console/audit/verify")).text
    )
    await sign_in(case.world, await case.world.key("keys:admin", "destinations:read", "events:read"))
    case.token = await csrf(case.world)
    answer = await case.post("/console/audit/verify")
    assert "Chain verified: no row was changed." in answer.text
    assert not re.search(r"[0-9a-f]{64}", answer.text.replace(case.token, "")), (
        "the hashes of two times count"
    )
    await tamper_with(case.world.engine, "UPDATE audit SET actor = 'key_2' WHERE action = 'key.created'")
    assert "The chain is broken. Ask the operator" in (await case.post("/console/audit/verify")).text


async def test_a_rename_shows_what_it_touches_before_it_is_done(case: Case) -> None:
    """The mapping by name, and how many get a new version."""
    page = await case.get("/console/event-names")
    assert "Added to cart" in page
    address = f"/console/event-names/{case.ids['advertiser_id']}/ADD_TO_SHOPPING_CART"
    assert address in page
    page = await case.get(address)
    assert "1 published mapping will get a new version" in page
    assert f"/mappings/{case.ids['mapping_id']}" in page
    answer = await case.post("/console/event-names/{advertiser_id}/{event_type}", to="Cart")
    assert "1 mapping republished" in await case.get(answer.headers["location"])
    refused = await case.post("/console/event-names/{advertiser_id}/{event_type}", to=" ")
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.text


async def test_a_key_reads_only_names_of_advertisers_that_it_may_read(case: Case) -> None:
    """As in the API."""
    other = await case.world.create_destination(name="Other", advertiser_id="42")
    limited = await case.world.key("destinations:read", "events:read", destination_ids=[other["id"]])
    await sign_in(case.world, limited)
    assert "No names are pinned yet" in await case.get("/console/event-names")
    address = f"/console/event-names/{case.ids['advertiser_id']}/ADD_TO_SHOPPING_CART"
    assert (await case.world.client.get(address)).status_code == 404
    assert (await case.world.client.get("/console/system")).status_code == 403


async def test_the_hash_tester_shows_the_key_and_keeps_nothing(case: Case) -> None:
    """The value is in no address, no cache and no row of the audit."""
    before = await case.world.actions()
    answer = await case.post(
        "/console/hash-tester", field="email", value=f"  {PERSON.upper()} ", country="US"
    )
    api = await case.world.call("POST", "/identity/hash", {"field": "email", "value": PERSON})
    assert api.json()["sent"] in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert await case.world.actions() == before
    dropped = await case.post("/console/hash-tester", field="email", value="unknown", country="US")
    assert "No match key: not an email" in dropped.text
    unknown = await case.post("/console/hash-tester", field="email", value=PERSON, country="XX")
    assert "Write the country as two letters, such as US or DE." in unknown.text


async def test_a_search_for_a_person_does_not_repeat_the_person(case: Case) -> None:
    """The value is not on the page that answers."""
    answer = await case.post("/console/privacy/find", kind="email", value=PERSON)
    assert "Email: not stored" in answer.text
    assert PERSON not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert (await case.world.actions())[-1] == "subject.searched"
    assert "is no e-mail address" not in answer.text
    answer = await case.post("/console/privacy/find", kind="email", value="ada lovelace")
    assert "The value is no e-mail address." in answer.text
    wrong = await case.post("/console/privacy/find", kind="hash", value="not-a-hash")
    assert wrong.status_code == 422
    forged = await case.post("/console/privacy/find", search="bm90LXNlYWxlZA==")
    assert forged.status_code == 422


async def test_an_erasure_is_listed_with_its_receipt(case: Case) -> None:
    """And the receipt is a file with a signature."""
    mistaken = await case.post("/console/privacy/erase", kind="email", value="ada lovelace")
    assert "the value is no e-mail address" in await case.get(mistaken.headers["location"])
    answer = await case.post("/console/privacy/erase", kind="email", value=PERSON)
    page = await case.get(answer.headers["location"])
    assert "In progress" in page
    assert "is no e-mail address" not in page
    assert PERSON not in page
    id_ = re.search(r"era_[0-9a-z]+", page)
    assert id_ is not None
    receipt = await case.world.client.get(f"/console/privacy/receipt?erasure={id_[0]}")
    assert {"signed", "signature", "public_key"} <= set(receipt.json())
    assert f"{id_[0]}.json" in receipt.headers["content-disposition"]
    assert (await case.world.client.get("/console/privacy/receipt?erasure=era_0")).status_code == 404


async def test_the_list_of_erasures_leads_on_and_back(case: Case) -> None:
    """It had no way back to its first page."""
    await case.world.sql(
        "INSERT INTO erasures (id, requested_by, kinds, finished_at) "
        "SELECT 'era_' || lpad(n::text, 20, '0'), 'bootstrap', '{email}', now() FROM generate_series(1, 21) n"
    )
    first = await case.get("/console/privacy")
    assert "Newest" not in first
    onward = re.search(r'href="(/console/privacy\?cursor=[^"]+)#erasures">Older<', first)
    assert onward is not None
    second = await case.get(onward[1])
    assert second.count(">Open<") == 1
    assert '<a class="button" href="/console/privacy#erasures">Newest</a>' in second
    assert "Older" not in second


MAPPING = D + "/mappings/{mapping_id}"
# For each form that a page answers: its fields, and the address of the page.
RESULTS = {
    "setup check": (D + "/preflight/ask", {}, D + "/preflight"),
    "comparison of ids": (D + "/match-quality/compare", {"ids": "ord-1"}, D + "/match-quality"),
    "hash": (D + "/match-quality/hash", {"field": "email", "value": "x"}, D + "/match-quality"),
    "test conversions": (D + "/match-quality/test", {"count": "0"}, D + "/match-quality"),
    "shadow": (D + "/match-quality/shadow", {"percent": "0"}, D + "/match-quality"),
    "thresholds": (D + "/notifications/thresholds", {"backlog.minutes": "x"}, D + "/notifications"),
    "currency": (D + "/currency", {"currency": "XXX"}, D + "/settings"),
    "rollback": (MAPPING + "/rollback", {"to": "1", "version": "0"}, MAPPING + "/versions?version=1"),
}


@pytest.mark.parametrize("name", RESULTS)
async def test_an_answer_is_reloaded_without_sending_its_form_again(case: Case, name: str) -> None:
    """A reload sent test conversions to Amazon again; the address of the form itself is no page."""
    action, form, address = RESULTS[name]
    address = re.sub(r"{(\w+)}", lambda found: case.ids[found[1]], address)
    answer = await case.post(action, mapping=case.ids["mapping_id"], **form)
    assert answer.status_code in (200, 412, 422)
    assert f' data-address="{address}"' in answer.text
    assert f' data-address="{address}"' not in await case.get(address)


async def test_thresholds_are_set_and_restored(case: Case) -> None:
    """A share is typed in percent; a default stays a default."""
    address = f"/destinations/{case.ids['destination_id']}"
    form = {f"{kind}.enabled": "yes" for kind in ("backlog", "failing", "rejections")}
    await case.post(
        D + "/notifications/thresholds", **form, **{"backlog.minutes": "30", "failing.share": "80"}
    )
    alerting = (await case.world.call("GET", address)).json()["alerting"]
    assert alerting["backlog"] == {"enabled": True, "minutes": 30}
    assert alerting["failing"]["share"] == 0.8
    assert alerting["volume_drop"]["enabled"] is False
    page = await case.get(f"/console{address}/notifications")
    assert re.search(r'name="failing.share" value="80"', page)
    for share in ("800", "9" * 400, "8_0", "nan", "ten"):
        refused = await case.post(D + "/notifications/thresholds", **{"failing.share": share})
        assert refused.status_code == 422, share
        assert '<p class="wrong" id="p-failing.share">' in refused.text
    refused = await case.post(D + "/settings", name="Acme", currency="USD", burst="9" * 20)
    assert (refused.status_code, "Out of range." in refused.text) == (422, True)
    every = [kind for kind in alerting if kind != "muted_until"]
    await case.post(D + "/notifications/thresholds", **{f"{kind}.enabled": "yes" for kind in every})
    (row,) = await case.world.sql("SELECT alerting FROM destination_alerting")
    assert row.alerting == {}


async def test_a_form_that_nobody_touched_keeps_the_digits_of_a_threshold(case: Case) -> None:
    """The API takes more digits than people type."""
    address = f"/destinations/{case.ids['destination_id']}"
    alerting = {"failing": {"share": 0.1234567}, "rejections": {"window_seconds": 1234.5678}}
    await case.world.call("PATCH", address, {"alerting": alerting}, status=200)
    page = await case.get(f"/console{address}/notifications")
    await case.post(D + "/notifications/thresholds", **_fields_of(page, "thresholds"))
    (row,) = await case.world.sql("SELECT alerting FROM destination_alerting")
    assert row.alerting == alerting


async def test_a_form_of_thresholds_replaces_no_change_that_it_did_not_show(case: Case) -> None:
    """The form says so to the second of two people, and keeps what they typed."""
    address = f"/destinations/{case.ids['destination_id']}"
    page = await case.get(f"/console{address}/notifications")
    await case.world.call("PATCH", address, {"alerting": {"backlog": {"minutes": 30}}}, status=200)
    fields = {**_fields_of(page, "thresholds"), "throttled.minutes": "7"}
    refused = await case.post(D + "/notifications/thresholds", **fields)
    assert refused.status_code == 412
    assert "Thresholds not saved. Someone else changed this" in refused.text
    assert 'name="throttled.minutes" value="7"' in refused.text
    (row,) = await case.world.sql("SELECT alerting FROM destination_alerting")
    assert row.alerting == {"backlog": {"minutes": 30}}
    again = await case.post(D + "/notifications/thresholds", **_fields_of(refused.text, "thresholds"))
    assert again.status_code == 303


async def test_a_form_of_an_organisation_replaces_no_change_that_it_did_not_show(case: Case) -> None:
    """A limit that another person set meanwhile stays."""
    page = await case.get("/console/organisations")
    limits = {"events_per_second": 500}
    await case.world.call("PATCH", "/organisations/acme", {"limits": limits}, status=200)
    fields = {**_fields_of(page, "organisations/acme"), "name": "Acme Inc"}
    refused = await case.post("/console/organisations/{id}", **fields)
    assert refused.status_code == 412
    assert "Changed by someone else" in refused.text
    stored = (await case.world.call("GET", "/organisations/acme")).json()
    assert (stored["name"], stored["limits"]["events_per_second"]) == ("Acme", 500)
    fields = {
        **_fields_of(await case.get("/console/organisations"), "organisations/acme"),
        "name": "Acme Inc",
    }
    assert (await case.post("/console/organisations/{id}", **fields)).status_code == 303
    stored = (await case.world.call("GET", "/organisations/acme")).json()
    assert (stored["name"], stored["limits"]["events_per_second"]) == ("Acme Inc", 500)


def _fields_of(page: str, address: str) -> dict[str, str]:
    """Return what a browser sends of the form with an address that ends so, without its token."""
    form = re.search(rf'<form method="post" action="[^"]*{address}".*?</form>', page, re.DOTALL)
    assert form is not None
    inputs = re.findall(r"<input[^>]*>", form[0])
    sent = [each for each in inputs if 'type="checkbox"' not in each or " checked" in each]
    pairs = (re.search(r'name="([^"]+)"[^>]*value="([^"]*)"', each) for each in sent)
    return {pair[1]: pair[2] for pair in pairs if pair is not None and pair[1] != "csrf"}


async def test_messages_maintenance_and_callbacks(case: Case) -> None:
    """As the API shows them."""
    address = f"/destinations/{case.ids['destination_id']}"
    await case.post(D + "/notifications", channel="ops", kind="backlog", min_severity="critical")
    assert (await case.world.call("GET", address + "/notifications")).json() == {
        "channels": ["ops"], "kinds": ["backlog"], "min_severity": "critical",
    }  # fmt: skip
    await case.post(D + "/notifications/maintenance", hours="2")
    assert (await case.world.call("GET", address)).json()["alerting"]["muted_until"] is not None
    await case.post(D + "/notifications/maintenance", hours="0")
    assert (await case.world.call("GET", address)).json()["alerting"]["muted_until"] is None
    await case.post(D + "/notifications/callback", enabled="yes")
    assert (await case.world.call("GET", address + "/status-callback")).json()["enabled"] is True
    page = await case.get("/console/notifications")
    assert "Not used yet" in page
    assert "hooks.test" not in page


async def test_the_system_page_says_that_no_worker_runs(case: Case) -> None:
    """First what is wrong, then the facts; the platform reads it too."""
    page = await case.get("/console/system")
    assert "No worker is running." in page
    assert "Key test encrypts new values." in page
    await sign_in(case.world, await case.world.key(Scope.ORGANISATIONS_ADMIN))
    assert "No worker is running." in await case.get("/console/system")


async def test_only_the_platform_sees_totals_of_the_installation(case: Case) -> None:
    """Size, encryptions, connections and hosts tell an organisation about the others."""
    totals = ("Database size", "Connections", "encrypts new values", "Encryption keys", "Event balance")
    page = await case.get("/console/system")
    assert [total for total in totals if total not in page] == []
    await sign_in(case.world, await case.world.key(*ROLES[PersonRole.ADMIN]))
    page = await case.get("/console/system")
    assert [total for total in totals if total in page] == []
    assert "No worker is running." in page


async def test_the_navigation_names_who_may_open_the_rest(case: Case) -> None:
    """A viewer does not learn that organisations exist."""
    await sign_in(case.world, await case.world.key("destinations:read", "events:read"))
    page = await case.get("/console/settings")
    menu = page.split("<summary>More</summary>")[1].split("</details>")[0]
    assert re.search(r"Keys <span>needs the role admin</span>", menu)
    assert 'href="/console/keys"' not in menu
    assert "Organisations" not in menu
    assert 'href="/console/system"' in menu
