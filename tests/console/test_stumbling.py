"""Where a stranger would stumble: lists that end early, dead ends, forms that say nothing, lost typing."""

import html
import re
from pathlib import Path

import pytest

from app.admin.access.people import ROLES, PersonRole
from tests.api.world import MAPPING, PUBLIC, ApiWorld
from tests.console.test_sessions import COOKIE, csrf, sign_in, submit


async def test_the_fifty_first_mapping_is_a_page_further(world: ApiWorld) -> None:
    """A list that ends says so, and the next page leads back."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    for number in range(51):
        await world.create_mapping(made, name=f"Mapping {number:02d}")
    here = f"/console/destinations/{made}/mappings"
    first = (await world.client.get(here)).text
    assert "Mapping 49" in first
    assert "Mapping 50" not in first
    onward = re.search(r'href="([^"]+cursor=[^"]+)">More<', first)
    assert onward is not None
    second = (await world.client.get(onward[1])).text
    assert "Mapping 50" in second
    assert f'href="{here}">First page<' in second


async def test_a_key_can_be_limited_to_any_of_201_destinations(world: ApiWorld) -> None:
    """The menu ended with the 200th."""
    await sign_in(world)
    last = await many_destinations(world, 200)
    assert f'<option value="{last}">' in (await world.client.get("/console/keys")).text
    await many_destinations(world, 1)
    page = (await world.client.get("/console/keys")).text
    assert '<option value="dst_' not in page
    assert 'name="destination_id" value="" placeholder="Destination ID (all)"' in page
    form = {"name": "k", "purpose": "viewer", "days": "90"}
    wrong = await submit(world, "/console/keys", **form, destination_id="dst_0")
    assert wrong.status_code == 422
    assert (
        '<p class="wrong" id="p-destination_id">It does not exist, or this key cannot access it.</p>'
        in wrong.text
    )
    assert 'value="dst_0"' in wrong.text
    assert 'name="name" type="text" value="k"' in wrong.text
    assert '<option value="90" selected>' in wrong.text
    assert 'value="viewer" checked' in wrong.text
    assert wrong.text.count(" checked") == 1
    assert (await submit(world, "/console/keys", **form, destination_id=last)).status_code == 200
    ((limited,),) = await world.sql("SELECT destination_ids FROM api_keys")
    assert limited == [last]


async def many_destinations(world: ApiWorld, number: int) -> str:
    """Create destinations that are alike; return the id of the last one."""
    made = await world.create_destination()
    await world.sql(
        "INSERT INTO destinations (id, lane, name, advertiser_id, region, currency, requests_per_second, "
        "burst) SELECT 'dst_' || left(md5(random()::text), 20), lane, name, advertiser_id, region, currency, "
        "requests_per_second, burst FROM destinations, generate_series(2, :number) WHERE id = :id",
        number=number,
        id=made["id"],
    )
    ((last,),) = await world.sql("SELECT id FROM destinations ORDER BY number DESC LIMIT 1")
    return str(last)


async def test_activate_and_consent_show_what_comes_after_200_others(world: ApiWorld) -> None:
    """Revoked keys and drafts hid the keys and the published mappings."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    other = (await world.create_destination())["id"]
    await world.sql(
        "INSERT INTO mappings (id, destination, name, draft) "
        "SELECT 'map_' || lpad(n::text, 20, '0'), :id, 'Draft ' || n, '{}' FROM generate_series(1, 200) n",
        id=made,
    )
    await world.sql(
        "INSERT INTO api_keys (id, name, hint, digest, scopes, created_by, created_at, revoked_at) "
        "SELECT 'key_' || lpad(n::text, 20, '0'), 'old', 'ack_old', sha256(n::text::bytea), "
        "'{events:write}', 'x', now() - interval '1 day', now() FROM generate_series(1, 200) n"
    )
    mapping = await world.publish_mapping(made)
    for name, scope, destinations in (
        ("reader", "events:read", None),
        ("elsewhere", "events:write", [other]),
        ("present", "events:write", [made, other]),
    ):
        body = {"name": name, "scopes": [scope], "destination_ids": destinations}
        await world.call("POST", "/keys", body, status=201)
    page = (await world.client.get(f"/console/destinations/{made}/activate")).text
    assert f'<code id="map-1">{mapping["id"]}</code>' in page
    assert re.findall(r'…</code> <span class="quiet"><bdi>([^<]*)<', page) == ["present"]
    assert "and more" not in page
    for number in range(5):
        body = {"name": f"key {number}", "scopes": ["events:write"]}
        await world.call("POST", "/keys", body, status=201)
    page = (await world.client.get(f"/console/destinations/{made}/activate")).text
    assert "<bdi>key 3</bdi>" in page
    assert "<bdi>key 4</bdi>" not in page
    assert "and more" in page
    consent = (await world.client.get(f"/console/destinations/{made}/consent")).text
    assert "Consent source: the mapping marks all events as consented." in consent
    quality = (await world.client.get(f"/console/destinations/{made}/match-quality")).text
    assert "No mapping is published" not in quality
    assert "0 of 1 published mappings are shown. The API has all." in quality
    found = (await world.client.get("/console/find?q=Draft")).text
    assert "More match: add words." in found
    assert "More match" not in (await world.client.get("/console/find?q=Acme")).text


@pytest.mark.parametrize("page", ["/settings", "/mappings/{}", "/mappings/{}/publish"])
async def test_a_viewer_gets_a_reason_in_place_of_a_button(world: ApiWorld, page: str, acme_id: str) -> None:
    """A form without a button and without a word looks broken."""
    mapping = (await world.create_mapping(acme_id))["id"]
    await sign_in(world, await world.key(*ROLES[PersonRole.VIEWER]))
    shown = (await world.client.get(f"/console/destinations/{acme_id}{page.format(mapping)}")).text
    assert re.search(r"Your role is viewer.*requires? an editor", shown)


async def test_pages_of_a_deleted_destination_offer_nothing_that_it_refuses(world: ApiWorld) -> None:
    """They said, also to an admin, that an editor is required, and offered a key and a test event."""
    made = (await world.create_destination())["id"]
    mapping = (await world.publish_mapping(made))["id"]
    change = f"/destinations/{made}/mappings/{mapping}"
    await world.call("PATCH", change, {"name": "Other"}, status=200)
    await world.call("POST", f"{change}/publish", status=200)
    await world.call("PATCH", change, {"name": "Third"}, status=200)
    await sign_in(world)
    here = f"/console/destinations/{made}"
    assert "Create key" in (await world.client.get(f"{here}/activate")).text
    await world.call("DELETE", f"/destinations/{made}", status=200)
    pages = (
        "settings",
        "notifications",
        *(f"mappings/{mapping}{end}" for end in ("", "/publish", "/versions?version=1")),
    )
    for page in pages:
        shown = (await world.client.get(f"{here}/{page}")).text
        assert "This destination was deleted and cannot be changed." in shown, page
        assert "Your role is" not in shown, page
    activate = (await world.client.get(f"{here}/activate")).text
    assert "This destination was deleted and accepts no events." in activate
    assert "Create key" not in activate
    assert "Send test event" not in activate
    overview = (await world.client.get(here)).text
    assert "This destination was deleted and accepts no events." not in overview
    assert "Setup" not in overview


async def test_a_drafts_advertiser_can_be_mended_as_the_page_says(world: ApiWorld) -> None:
    """After a sign-in without access to the advertiser, Settings is the page that repairs it."""
    await sign_in(world)
    made = await world.create_destination(advertiser_id="42")
    here = f"/console/destinations/{made['id']}/settings"
    assert 'name="advertiser_id"' in (await world.client.get(here)).text
    form = {"name": "Acme", "region": "EU"}
    assert (await submit(world, here, **form, version="1", advertiser_id="43")).status_code == 303
    answer = (await world.call("GET", f"/destinations/{made['id']}")).json()
    assert (answer["advertiser_id"], answer["region"]) == ("43", "EU")
    wrong = await submit(world, here, **form, version="2", advertiser_id="ENTITY1")
    assert wrong.status_code == 422
    assert 'value="ENTITY1"' in wrong.text


@pytest.mark.reads_only
async def test_a_fragment_after_the_sessions_end_leaves_the_page_as_it_is(world: ApiWorld) -> None:
    """Leading away would lose what somebody has typed; they sign in in another tab."""
    answer = await world.client.post(
        "/console/destinations/x/mappings/y/preview", headers={"HX-Request": "true"}
    )
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer.headers
    assert "Your input is kept." in answer.text
    assert 'target="_blank"' in answer.text


@pytest.mark.reads_only
async def test_a_form_after_the_sessions_end_leads_back_to_its_page(world: ApiWorld) -> None:
    """And the sign-in says that it was not done; a page elsewhere is not led to."""
    sent = {"Referer": f"{PUBLIC}/console/keys"}
    answer = await world.client.post("/console/keys", data={"name": "x"}, headers=sent)
    assert answer.headers["location"] == "/console/sign-in?unsent=true&next=/console/keys"
    page = (await world.client.get(answer.headers["location"])).text
    assert "Your last change was not applied" in page
    away = await world.client.post("/console/keys", headers={"Referer": "https://elsewhere.example/x"})
    assert away.headers["location"].endswith("next=/console")


@pytest.mark.reads_only
async def test_the_sign_in_says_that_a_session_has_ended(world: ApiWorld) -> None:
    """Not to somebody who comes for the first time."""
    assert "has ended" not in (await world.client.get("/console/sign-in")).text
    world.client.cookies.set(COOKIE, "of-yesterday")
    assert "Your session has ended." in (await world.client.get("/console/sign-in")).text


async def test_a_form_of_the_session_before_is_done_after_one_question(world: ApiWorld) -> None:
    """What was typed is in the question, markup as text; without a yes nothing is done."""
    await sign_in(world)
    stale = await csrf(world)
    await sign_in(world)
    name = 'Söhne "<b>&'
    form = {"csrf": stale, "name": name, "advertiser_id": "42", "region": "NA", "currency": "USD"}
    before = await world.actions()
    asked = await world.client.post("/console/destinations/new", data=form)
    assert asked.status_code == 403
    assert await world.actions() == before
    assert "<b>" not in asked.text
    hidden = {
        html.unescape(found[1]): html.unescape(found[2])
        for found in re.finditer(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', asked.text)
    }
    assert hidden["name"] == name
    assert hidden["csrf"] not in ("", stale)
    done = await world.client.post("/console/destinations/new", data=hidden)
    assert done.status_code == 303
    assert (await world.call("GET", done.headers["location"].removeprefix("/console"))).json()["name"] == name


async def test_activate_offers_a_payload_whose_execution_can_be_found_again(world: ApiWorld) -> None:
    """Events are searched by journey execution, so the example names one; a plain webhook has none."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    page = html.unescape((await world.client.get(f"/console/destinations/{made}/activate")).text)
    assert '"execution_id"' in page.split('id="body-one"')[1].split("</pre>")[0]
    assert '"journey"' not in page.split('id="body-webhook"')[1].split("</pre>")[0]


async def test_activate_says_what_to_do_for_each_status_that_the_guide_names(world: ApiWorld) -> None:
    """An event with code `RATE_LIMIT` is sent again, also unchanged; an unknown result is, too."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    page = (await world.client.get(f"/console/destinations/{made}/activate")).text
    table = page.split('aria-label="Responses"')[1].split("</table>")[0]
    guide = Path("docs/journey-node.md").read_text().split("## Responses and retries")[1].split("\n### ")[0]
    rows = [line.split(" | ")[0] for line in guide.splitlines() if line.startswith("| ")]
    statuses = set(re.findall(r"`(\d{3})`", " ".join(rows)))
    assert statuses == set(re.findall(r"\d{3}", " ".join(re.findall(r'<th scope="row">(.*?)</th>', table))))
    for status in ("207", "422"):
        [row] = [row for row in table.split("<tr>") if f">{status}<" in row]
        assert "RATE_LIMIT" in row, status


async def test_the_audit_calls_people_and_things_by_their_names(world: ApiWorld) -> None:
    """With a way to each; ids are for programs. A version says by whom it was published alike."""
    key = await world.key(*ROLES[PersonRole.EDITOR])
    await world.sql("UPDATE api_keys SET name = 'Ada of ops'")
    made = (await world.create_destination(name="Acme Shop"))["id"]
    answer = await world.call("POST", f"/destinations/{made}/mappings", MAPPING, key=key)
    mapping = answer.json()["id"]
    await world.call("POST", f"/destinations/{made}/mappings/{mapping}/publish", key=key)
    await sign_in(world)
    audit = (await world.client.get("/console/audit")).text
    assert ">Ada of ops<" in audit
    assert ">the bootstrap key<" in audit
    assert f'href="/console/destinations/{made}/mappings/{mapping}"' in audit
    assert ">Acme Shop<" in audit
    published = (await world.client.get(f"/console/destinations/{made}/mappings/{mapping}/versions")).text
    assert "by <bdi>Ada of ops</bdi>" in published


async def test_what_cannot_be_done_now_leads_back_to_its_destination(world: ApiWorld) -> None:
    """Not to the list of all; a destination that is not there is led back to from nowhere."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    here = f"/console/destinations/{made}"
    answer = await submit(world, f"{here}/delete", name="x")
    assert answer.status_code == 422
    assert f'href="{here}">Back to the destination<' in answer.text
    gone = await world.client.get("/console/destinations/dst_0123456789abcdef0123/settings")
    assert gone.status_code == 404
    assert "Back to the destination" not in gone.text


async def test_what_was_refused_elsewhere_leads_back_to_its_page(world: ApiWorld) -> None:
    """To the page of the form, which the navigation lists."""
    await sign_in(world)
    for page, action, name in (("keys", "key_0/revoke", "Keys"), ("sessions", "none/end", "Sessions")):
        answer = await submit(world, f"/console/{page}/{action}")
        assert answer.status_code in (404, 422)
        assert f'href="/console/{page}">Back to {name}<' in answer.text
