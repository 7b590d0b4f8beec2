"""The mapping editor on the server: one page to begin, results by row, save, review and publish."""

import html
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.admin import BOOTSTRAP_CALLER
from app.admin.destinations.event_schemas import read_test_event
from app.console.assets import compressed
from app.console.mappings.field_results import UNDECIDED
from app.domain.mapping.document import FIELDS
from app.domain.mapping.presets import event_id_presets
from app.domain.observed.schema_sample import take_sample
from tests.api.test_backtests import SAMPLED_AT, WITH, ready, saw
from tests.api.world import EVENT, MAPPING, ApiWorld
from tests.console.test_sessions import sign_in, submit

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORM = {
    "name": "Cart",
    "action": "send_events",
    "event_type": "CONTACT",
    "event_source": "WEBSITE",
    "event_name": "Contact left",
    "country_code.default": "US",
    "fields.event_timestamp.path": "event.timestamp",
    "fields.email.path": "user.email",
    "custom.0.name": "brand",
    "custom.0.path": "event.properties.brand",
    "consent": "granted",
}


async def begun(world: ApiWorld, **destination: Any) -> str:
    """Sign in and return the address of a new destination."""
    await sign_in(world)
    return f"/console/destinations/{(await world.create_destination(**destination))['id']}"


async def published(world: ApiWorld, mapping: str) -> Any:
    """Return the number of a mapping's published version."""
    return (await world.call("GET", mapping.removeprefix("/console"))).json()["published_version"]


async def test_a_new_mapping_is_one_page_and_one_form(world: ApiWorld) -> None:
    """Name, action, fields and consent; saved with one request."""
    here = await begun(world)
    page = (await world.client.get(f"{here}/mappings/new")).text
    for part in ("Mapping name", "Choose your Action", "Map the Fields", "Additional Settings", "Consent"):
        assert part in page
    assert 'value="user.email"' in page
    assert not re.search(r"\b(left|right):", page.lower()), "on a phone, one field stands above the other"
    made = await submit(world, f"{here}/mappings/new", **FORM)
    mapping = (await world.call("GET", made.headers["location"].removeprefix("/console"))).json()
    assert mapping["custom_data"] == [{"name": "brand", "path": "event.properties.brand"}]
    assert mapping["problems"] == []


async def test_a_new_mapping_begins_with_the_fields_of_recent_events(world: ApiWorld) -> None:
    """What no event has is left empty; the picker says how many events have what."""
    destination, _ = await ready(world)
    await sign_in(world)
    page = (await world.client.get(f"/console{destination}/mappings/new")).text
    assert re.search(r'name="fields.phone.path" value="user.phone"', page)
    assert re.search(r'name="fields.last_name.path" value=""', page)
    assert '<option value="user.phone" data-fits="fields.phone">60 % of events · text<' in page


async def test_a_new_mapping_begins_without_a_country(world: ApiWorld) -> None:
    """A default would make every event without a country one of this country."""
    page = (await world.client.get(f"{await begun(world)}/mappings/new")).text
    assert 'name="country_code.path" value="user.country"' in page
    assert 'name="country_code.default"' not in page


@pytest.mark.parametrize(
    "change",
    [{"consent": ""}, {"event_type": "LEAD"}, {"custom.1.name": "who", "custom.1.path": "user.address"}],
    ids=["incomplete", "a field is advised", "personal data"],
)
async def test_lint_warnings_are_reviewed_first(world: ApiWorld, change: dict[str, str]) -> None:
    """Saved, not published; the review says what is missing or unusual."""
    here = await begun(world)
    answer = await submit(world, f"{here}/mappings/new", **FORM | change, then="publish")
    review = answer.headers["location"]
    assert review.endswith("/publish")
    assert await published(world, review.removesuffix("/publish")) is None
    page = (await world.client.get(review)).text
    assert ("Fix these fields first" in page) or ("Check before publishing" in page)


async def test_another_name_for_a_type_is_reviewed_first(world: ApiWorld) -> None:
    """R12: the review shows both names and whom a rename touches, by name, before any button."""
    here = await begun(world, name="Acme US")
    await world.publish_mapping(
        here.rpartition("/")[2], event_type="CONTACT", event_name="Contacted", name="Old"
    )
    review = (await submit(world, f"{here}/mappings/new", **FORM, then="publish")).headers["location"]
    page = (await world.client.get(review)).text
    assert "One event type has one name." in page
    assert "Use “Contacted” here" in page
    assert "1 published mapping in 1 destination will get a new version:" in page
    assert "<bdi>Acme US</bdi>: <bdi>Old</bdi>" in page
    assert f'action="{review}"' not in page


async def test_a_rename_is_not_offered_to_a_key_that_cannot_see_all(world: ApiWorld) -> None:
    """The page says how many destinations it cannot see, and names none of them."""
    hidden = (await world.create_destination(name="Hidden"))["id"]
    await world.publish_mapping(hidden, event_name="Contacted", event_type="CONTACT")
    visible = (await world.create_destination(name="Visible"))["id"]
    mapping = (await world.create_mapping(visible, event_name="Other", event_type="CONTACT"))["id"]
    scopes = ["destinations:read", "destinations:write", "events:read"]
    await sign_in(world, await world.key(*scopes, destination_ids=[visible]))
    page = (await world.client.get(f"/console/destinations/{visible}/mappings/{mapping}/publish")).text
    assert "1 destination that you cannot see" in page
    assert "Hidden" not in page
    assert "Rename everywhere" not in page


async def test_an_incomplete_draft_shows_what_is_mapped(world: ApiWorld) -> None:
    """Values that are not personal, hashes, and why a row is empty; beside what is missing."""
    here = await begun(world)
    form = {"fields.email.path": "user.email", "fields.phone.path": "user.phone"}
    form |= {"custom.7.name": "brand", "custom.7.path": "b"}
    sample = json.dumps({"user": {"email": "ada@example.com"}, "b": "acme"})
    answer = await submit(world, f"{here}/mappings/new/preview", **form, sample=sample)
    page = html.unescape(answer.text)
    assert "Incomplete" in page
    assert "Consent" in page
    assert re.search(r'data-for="fields.email">.*sha256:', page)
    assert re.search(r'data-for="fields.phone">.*The sample has no user.phone.', page)
    assert re.search(r'data-for="custom.7">.*acme', page)
    assert "ada@example.com" not in page


@pytest.mark.parametrize("sample", ["", "[]", "{", '{"a": NaN}'])
async def test_a_sample_that_is_no_event_is_named(world: ApiWorld, sample: str) -> None:
    """The rest of the page stays as it is."""
    here = await begun(world)
    answer = await submit(world, f"{here}/mappings/new/preview", sample=sample)
    assert answer.status_code == 200
    assert "notice bad" in answer.text


async def test_results_come_without_saving_and_without_a_script(world: ApiWorld) -> None:
    """The button of a sample, and the one that updates the results, send the form and store nothing."""
    destination, mapping = await ready(world)
    await sign_in(world)
    before = (await world.call("GET", mapping)).json()
    actions = await world.actions()
    for address, then in (
        (f"/console{mapping}", "sample-recent-1"),
        (f"/console{mapping}", "preview"),
        (f"/console{destination}/mappings/new", "sample-example"),
    ):
        answer = await submit(world, address, **FORM | {"name": "Typed", "then": then})
        assert answer.status_code == 200
        assert 'value="Typed"' in answer.text
        assert "Unsaved changes" in answer.text
        assert re.search(
            r'id="r-fields.email">\s*<span class="tone-good" title="normalised and hashed">.*sha256:',
            answer.text,
        )
    assert (await world.call("GET", mapping)).json() == before
    assert await world.actions() == actions


ORDER = {
    "created_at": "24.11.2026 10:00:00",
    "contact_email": "ada@example.com",
    "billing_address": {"country_code": "DE"},
    "line_items": [{"sku": "p-1", "price": "19,99", "quantity": 2}],
}


@pytest.mark.parametrize(
    "sample", [ORDER, [ORDER], {"rows": [ORDER, "no event"]}], ids=["event", "list", "body"]
)
async def test_a_pasted_event_fills_the_form(world: ApiWorld, sample: Any) -> None:
    """Alone or in a body of `POST /events`. With reasons and what is not decided; nothing is stored."""
    here = await begun(world)
    actions = await world.actions()
    form = {"name": "", "then": "suggest", "sample": json.dumps(sample)}
    page = html.unescape((await submit(world, f"{here}/mappings/new", **form)).text)
    assert 'name="fields.email.path" value="contact_email"' in page
    assert 'name="fields.value.sum" value="price, quantity"' in page
    assert "Suggested. Named contact_email, and its values fit." in page
    assert "Event Timestamp</a>: The times name no time zone." in page
    assert "Consent</a>: The events carry no consent." in page
    again = await submit(world, f"{here}/mappings/new", **form, zone="Europe/Berlin")
    page = html.unescape(again.text)
    assert 'name="fields.event_timestamp.zone" value="Europe/Berlin"' in page
    assert "The times name no time zone." not in page
    assert "2026-11-24T09:00:00" in page
    assert 'value="line_items"' in page
    assert await world.actions() == actions


@pytest.mark.parametrize(
    ("sample", "number", "text"),
    [
        ({"order": {"id": "7"}, "items": [{"order_id": "1"}]}, 0, "order.id"),
        ({"data": {"transactionId": "t-1"}}, 1, "{data.transactionId}_Contact left"),
        ({"nothing": "like it"}, 2, "{event.properties.order_id}-contact-left"),
    ],
)
async def test_a_set_up_of_the_tag_fills_in_the_deduplication_id(
    world: ApiWorld, sample: dict[str, Any], number: int, text: str
) -> None:
    """With the order number of the sample event and the mapping's event name; each has a line about it."""
    here = await begun(world)
    form = {**FORM, "sample": json.dumps(sample), "then": f"event-id-{number}"}
    page = html.unescape((await submit(world, f"{here}/mappings/new", **form)).text)
    assert f'name="fields.event_id.path" value="{text}"' in page
    assert 'name="fields.email.path" value="user.email"' in page
    for preset in event_id_presets():
        assert f"{preset.label}. " in html.unescape(page)
        assert preset.help in html.unescape(page)


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"then": "suggest", "sample": "[]"}, "the sample is no event and no list"),
        ({"then": "suggest-recent"}, "no event has come in yet"),
        ({"then": "suggest", "sample": "{}", "zone": "Berlin"}, "no name of the IANA"),
        ({"then": "json", "json": "[1"}, "The JSON is not a mapping."),
    ],
)
async def test_what_fills_nothing_says_why(world: ApiWorld, form: dict[str, str], sentence: str) -> None:
    """And the form stays as it is."""
    here = await begun(world)
    answer = await submit(world, f"{here}/mappings/new", **FORM | {"name": "Typed", **form})
    assert sentence in html.unescape(answer.text)
    assert 'value="Typed"' in answer.text
    assert 'name="fields.email.path" value="user.email"' in answer.text


async def test_recent_events_fill_the_form_of_a_saved_mapping(world: ApiWorld) -> None:
    """As the API suggests them."""
    _, mapping = await ready(world)
    await sign_in(world)
    form = FORM | {"name": "Mine", "then": "suggest-recent"}
    page = html.unescape((await submit(world, f"/console{mapping}", **form)).text)
    assert 'name="fields.phone.path" value="user.phone"' in page
    assert "Suggested. Named user.phone, and its values fit. Usable in 60 % of the events." in page
    assert 'value="Mine"' in page


async def test_the_complete_mapping_is_edited_as_json(world: ApiWorld) -> None:
    """Saved with what the form has no input for."""
    here = await begun(world)
    fields = {
        "event_timestamp": {"path": "at"},
        "email": {"first_of": [{"path": "a"}, {"path": "b"}], "pipe": ["trim"]},
        "value": {"path": "items", "pipe": [["sum", "price", {"missing": "skip"}]]},
    }
    document = {"name": "Whole", "action": "send_events", "fields": fields}
    page = (await submit(world, f"{here}/mappings/new", then="json", json=json.dumps(document))).text
    shown = html.unescape(page.split('aria-describedby="h-json">')[1].split("</textarea>")[0])
    assert json.loads(shown) == document
    inputs = dict(re.findall(r'<input name="([\w.]+)" value="([^"]*)"', page))
    sent = {name: html.unescape(value) for name, value in inputs.items()}
    made = await submit(world, f"{here}/mappings/new", **sent | {"name": "Whole"})
    mapping = (await world.call("GET", made.headers["location"].removeprefix("/console"))).json()
    assert mapping["fields"] == fields


def test_every_undecided_word_has_a_sentence() -> None:
    """The words of the documented table, which the domain's tests hold to the code."""
    table = (
        (DOCS / "suggestions.md").read_text().split("| field and reason in `undecided`")[1].split("\n\n")[0]
    )
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)[1::2]} == set(UNDECIDED)


async def test_samples_are_like_recent_events_without_their_values(world: ApiWorld) -> None:
    """The most common shapes with their share, then the example; values are invented."""
    destination, mapping = await ready(world)
    await saw(world, (await world.call("GET", mapping)).json()["id"], (WITH, 1))
    await sign_in(world)
    page = (await world.client.get(f"/console{mapping}")).text
    labels = re.findall(r'name="then" value="sample-([a-z0-9-]+)"[^>]*>([^<]+)<', page)
    assert labels[0] == ("recent-1", "64 % of events")
    assert labels[-1] == ("example", "Example event")
    assert destination


async def test_a_sample_has_the_shape_of_the_events_of_its_mapping(world: ApiWorld) -> None:
    """Another mapping of the destination gets more events, of another shape, which this one would reject."""
    destination, mapping = await ready(world)
    other = (await world.create_mapping(destination.rpartition("/")[2], name="Leads"))["id"]
    lead = take_sample({"lead": {"mail": "ada@example.com", "phone": "+12025550173"}}, now=SAMPLED_AT)
    await saw(world, other, (lead, 100))
    await sign_in(world)
    labels = r'name="then" value="sample-([a-z0-9-]+)"[^>]*>([^<]+)<'
    for path, share, member in (
        (mapping, "60 %", "user"),
        (f"{destination}/mappings/{other}", "100 %", "lead"),
    ):
        page = (await world.client.get(f"/console{path}")).text
        assert re.findall(labels, page)[0] == ("recent-1", f"{share} of events")
        assert member in json.loads(text_of("sample", page))
    unused = (await world.create_mapping(destination.rpartition("/")[2], name="No events yet"))["id"]
    page = (await world.client.get(f"/console{destination}/mappings/{unused}")).text
    assert "lead" in json.loads(text_of("sample", page))


def text_of(name: str, page: str) -> str:
    """Return the text of a text area."""
    found = re.search(rf'<textarea[^>]* name="{name}"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


async def test_a_first_publish_offers_the_event_that_was_pasted(world: ApiWorld) -> None:
    """As the payload and as the test event: the built-in example may have other fields."""
    here = await begun(world)
    await world.connect((await world.call("GET", here.removeprefix("/console"))).json())
    sample = '{"events": [{"plan": "gold", "user": {"email": "ada@example.com"}}]}'
    page = (await submit(world, f"{here}/mappings/new", **FORM, then="publish", sample=sample)).text
    assert "Version 1 published." in page
    assert json.loads(text_of("event", page))["plan"] == "gold"
    assert "gold" in page.partition('id="body-one"')[2].partition("</pre>")[0]
    assert "Event Timestamp is mapped to event.timestamp, which is absent." in page


async def test_the_test_event_is_like_those_that_the_mapping_accepted(world: ApiWorld, acme_id: str) -> None:
    """The built-in example has other paths, so that a mapping for other events would reject it."""
    await sign_in(world)
    orders, leads = [
        (await world.publish_mapping(acme_id, name=name, event_type=type_, event_name=name))["id"]
        for name, type_ in (("Orders", "CONTACT"), ("Leads", "LEAD"))
    ]
    here = f"/console/destinations/{acme_id}/activate"
    page = (await world.client.get(here)).text
    assert json.loads(text_of("event", page))["user"]["first_name"] == "Ada"
    assert "Replace the fields of this example." not in page
    order, lead = [
        take_sample(
            {name: {"mail": "ada@example.com", "total": Decimal("9.5")}, "event_id": "e-1"}, now=SAMPLED_AT
        )
        for name in ("order", "lead")
    ]
    await saw(world, orders, (order, 1))
    await saw(world, leads, (lead, 1))
    for address, member in ((here, "order"), (f"{here}?mapping_id={leads}", "lead")):
        page = (await world.client.get(address)).text
        event = json.loads(text_of("event", page))
        assert event.keys() == {member, "event_id"}
        assert "Replace the fields of this example." in page  # it has no time
        assert f"&#34;{member}&#34;" in page.partition('id="body-one"')[2].partition("</pre>")[0]
    context = world.context.of_caller(BOOTSTRAP_CALLER)
    test_event = await read_test_event(context, acme_id, leads)
    assert test_event.keys() == {"lead", "event_id"}
    assert test_event["lead"].keys() == {"mail", "total"}


async def test_the_fullest_editor_stays_light(world: ApiWorld) -> None:
    """And opens: every field mapped, thirteen rows of custom data, events of two hundred fields."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    names = [name for name in FIELDS if name != "event_timestamp"]
    document = {
        "event_type": "OFF_AMAZON_PURCHASES",
        "event_name": "Purchase",
        "fields": {"event_timestamp": "event.timestamp", **{name: f"user.{name}" for name in names}},
        "custom_data": [{"name": f"attribute_{n}", "path": f"event.attribute_{n}"} for n in range(13)],
    }
    mapping = (await world.create_mapping(made, **document))["id"]
    wide = take_sample(
        {"event": {f"a_rather_long_name_{n}": f"text {n}" for n in range(60)}, **EVENT}, now=SAMPLED_AT
    )
    wider = take_sample({f"part_{n}": {f"field_{m}": m for m in range(40)} for n in range(5)}, now=SAMPLED_AT)
    await saw(world, mapping, (wide, 6), (wider, 4))
    page = await world.client.get(f"/console/destinations/{made}/mappings/{mapping}")
    assets = sum(
        len(compressed(name))
        for name in ("console.css", "theme.js", "htmx.min.js", "console.js", "mapping.js", "icon.svg")
    )
    assert page.status_code == 200
    assert len(page.content) + assets < 97_500


async def test_a_problem_of_a_name_stands_at_the_name(world: ApiWorld) -> None:
    """A new mapping without a name is not created; what was typed stays."""
    here = await begun(world)
    for name, then in (("", "stay"), ("\u202e", "publish")):
        form = FORM | {"name": name, "event_name": "Typed here", "then": then}
        answer = await submit(world, f"{here}/mappings/new", **form)
        assert answer.status_code == 422
        assert 'value="Typed here"' in answer.text
        assert 'id="p-name"' in answer.text


@pytest.mark.parametrize("then", ["suggest", "preview", "sample-example", "open-email"])
async def test_a_name_is_asked_for_only_when_the_mapping_is_saved(world: ApiWorld, then: str) -> None:
    """A button that only shows something does not complain that nothing was saved."""
    here = await begun(world)
    form = FORM | {"name": "", "sample": "[]", "then": then}
    answer = await submit(world, f"{here}/mappings/new", **form)
    assert answer.status_code == 200
    assert "Not saved." not in answer.text
    assert 'id="p-name"' not in answer.text


async def test_a_version_says_what_it_is_and_what_rolling_back_changes(world: ApiWorld) -> None:
    """In words, with note and author; the button comes after."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    mapping = (await world.publish_mapping(made))["id"]
    path = f"/destinations/{made}/mappings/{mapping}"
    await world.call("PATCH", path, {"country_code": "DE"})
    page = f"/console{path}"
    version = (await world.call("GET", path)).json()["version"]
    note = "We moved to <b>Germany</b>."
    answer = await submit(world, f"{page}/publish", version=str(version), note=note)
    assert answer.headers["location"] == f"{page}/publish"
    now = (await world.client.get(f"{page}/versions")).text
    assert "We moved to &lt;b&gt;Germany&lt;/b&gt;." in now
    assert "Changes from version 1" in now
    assert "Roll back to" not in now
    then = (await world.client.get(f"{page}/versions?version=1")).text
    assert "from user.country; if empty: US" in then
    assert then.index("In use: version 2") < then.index('<button class="primary">Roll back to version 1')
    assert '{"path"' not in then
    assert (await world.client.get(f"{page}/versions?version=3")).status_code == 404


async def test_a_note_that_is_too_long_is_refused_and_stays_in_the_form(world: ApiWorld) -> None:
    """Nothing is published."""
    await sign_in(world)
    made = (await world.create_destination())["id"]
    mapping = (await world.create_mapping(made))["id"]
    page = f"/console/destinations/{made}/mappings/{mapping}"
    answer = await submit(world, f"{page}/publish", version="1", note="n" * 1001)
    assert answer.status_code == 422
    assert "n" * 1001 in answer.text
    assert "A note has at most 1,000 characters." in answer.text
    assert await published(world, page) is None


@pytest.mark.parametrize(
    ("event_type", "words"),
    [
        ("CONTACT", "Contact"),
        ({"const": "CONTACT"}, "Contact"),
        ({"path": "event.name"}, "from event.name"),
        ({"path": "event.name", "pipe": ["upper"]}, "from event.name, transformed by upper"),
        ({"template": "{event.kind}"}, "from {event.kind}"),
        ({"first_of": [{"path": "event.kind"}, {"const": "CONTACT"}]}, "from event.kind, else CONTACT"),
    ],
)
async def test_the_list_says_where_an_event_type_comes_from(
    world: ApiWorld, event_type: Any, words: str
) -> None:
    """Every form of a source that the API takes."""
    page = await begun(world)
    destination = page.removeprefix("/console")
    await world.call("POST", f"{destination}/mappings", MAPPING | {"event_type": event_type}, status=201)
    answer = await world.client.get(f"{page}/mappings")
    assert answer.status_code == 200
    assert f"<td><bdi>{words}</bdi></td>" in answer.text


async def test_a_mapping_is_copied_within_and_between_destinations(world: ApiWorld) -> None:
    """As a draft under another name; the original stays as it is."""
    await sign_in(world)
    first, second = [(await world.create_destination(name=name))["id"] for name in ("First", "Second")]
    mapping = (await world.publish_mapping(first))["id"]
    page = f"/console/destinations/{first}/mappings/{mapping}/copy"
    assert 'value="Copy of Cart"' in (await world.client.get(page)).text
    assert "Second" in (await world.client.get(f"{page}?q=sec")).text
    assert "No other destination matches." in (await world.client.get(f"{page}?q=nothing-like-it")).text
    for to in (first, second):
        answer = await submit(world, page, name="Again", to=to)
        copied = (await world.call("GET", answer.headers["location"].removeprefix("/console"))).json()
        assert (copied["destination_id"], copied["name"], copied["published_version"]) == (to, "Again", None)
        assert copied["fields"] == MAPPING["fields"]
        assert "Mapping copied" in (await world.client.get(answer.headers["location"])).text
    assert (await submit(world, page, name="", to=second)).status_code == 422


async def test_the_page_of_a_copy_says_that_more_destinations_exist(world: ApiWorld) -> None:
    """Also if the destination of the mapping is among those that were read."""
    await sign_in(world)
    first, *_ = [(await world.create_destination(name=f"Shop {n}"))["id"] for n in range(22)]
    mapping = (await world.create_mapping(first))["id"]
    page = (await world.client.get(f"/console/destinations/{first}/mappings/{mapping}/copy")).text
    assert page.count('type="radio"') == 21
    assert "More destinations exist" in page


async def test_a_version_that_does_not_exist_is_not_found(world: ApiWorld) -> None:
    """However high its number is. Higher numbers than the database has are refused."""
    page = await begun(world)
    mapping = await world.publish_mapping(page.rpartition("/")[2])
    for version, status in ((2, 404), (2**31 - 2, 404), (2**31 - 1, 422)):
        answer = await world.client.get(f"{page}/mappings/{mapping['id']}/versions?version={version}")
        assert answer.status_code == status, version


async def test_a_mapping_is_not_copied_where_the_key_may_not_write(world: ApiWorld) -> None:
    """A destination that a limited key cannot see is neither offered nor taken."""
    first, second = [(await world.create_destination(name=name))["id"] for name in ("First", "Second")]
    mapping = (await world.create_mapping(first))["id"]
    scopes = ["destinations:read", "destinations:write", "events:read"]
    await sign_in(world, await world.key(*scopes, destination_ids=[first]))
    page = f"/console/destinations/{first}/mappings/{mapping}/copy"
    assert "Second" not in (await world.client.get(f"{page}?q=Sec")).text
    refused = await submit(world, page, name="x", to=second)
    assert refused.status_code == 404
    assert "Not found, or this key cannot access it." in refused.text
    assert 'name="name" type="text" value="x"' in refused.text
    assert (await world.call("GET", f"/destinations/{second}/mappings")).json()["items"] == []


async def test_the_key_for_journeys_is_created_in_place(world: ApiWorld) -> None:
    """Shown once, limited to sending and to this destination."""
    here = await begun(world, name="Acme")
    answer = await submit(world, f"{here}/journey-key")
    assert re.search(r'id="secret">ack_[0-9A-Za-z]{43}<', answer.text)
    assert 'id="secret"' not in (await world.client.get(f"{here}/activate")).text
    (key,) = [
        one for one in (await world.call("GET", "/keys")).json()["items"] if one["name"] == "Journey: Acme"
    ]
    assert (key["scopes"], key["destination_ids"]) == (["events:write"], [here.rpartition("/")[2]])
