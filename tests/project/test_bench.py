"""The bench measures a realistic event, processed by the product and counted individually."""

import asyncio
import json
from datetime import UTC, datetime

import httpx

from app.amazon.wire import read_reply, request_body
from app.domain import strict_json
from app.domain.conversion.convert import Conversion, Rules
from app.domain.destination import Region
from app.domain.event import Event, Events, read_events
from app.domain.identity.keys import Profile
from app.domain.outcomes.outcome import ItemAccepted, PerItemReply
from bench import outbox, reference
from bench.conversion import RICH, converter, events
from bench.events import MAPPING, bodies
from bench.stand_in import StandIn
from tests.domain.conversions import compiled, convert

RULES = Rules("dst_1", "map_1", 1, Region.NA, Profile.AMAZON, "USD", None, {})


def posted(events: int) -> bytes:
    """Return one body with that many events of the bench."""
    (body,) = bodies("run", events, events, ["dst_1"])
    return body


def conversions(body: bytes) -> list[Conversion]:
    """Turn the events of a body into conversions, as ingest does."""
    mapping = compiled(MAPPING)
    read = read_events(strict_json.parse(body), default_destination=None, default_mapping=None)
    assert isinstance(read, Events)
    made = []
    for event in read:
        assert isinstance(event, Event)
        made.append(convert(event, event.event_id or "", mapping, RULES, now=datetime.now(UTC)))
    assert all(isinstance(one, Conversion) for one in made), made
    return [one for one in made if isinstance(one, Conversion)]


def test_the_event_is_a_realistic_one() -> None:
    """Five match keys, three custom fields, nothing dropped, nothing warned of."""
    for conversion in conversions(posted(40)):
        sent = json.loads(conversion.body)
        assert len(sent["matchKeys"]) == 5
        assert len(sent["customData"]) == 3
        assert conversion.warnings == ()


def test_the_bare_loop_makes_an_event_of_the_same_kind() -> None:
    """The same members and nearly the same length, or the ratio would compare two things."""
    bare, ours = reference.finished(1)[0], conversions(posted(1))[0].body
    assert json.loads(bare).keys() == json.loads(ours).keys()
    assert abs(len(bare) - len(ours)) < 40


def ask(stand_in: StandIn, path: str, body: bytes = b"") -> bytes:
    """Ask the stand-in as a server would."""

    async def posted() -> bytes:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(stand_in)) as client:
            return (await client.post(f"http://x{path}", content=body)).content

    return asyncio.run(posted())


def test_the_stand_in_counts_every_event_and_the_product_believes_its_answer() -> None:
    """Each event by its number, once; every outcome an acceptance."""
    stand_in, made = StandIn(1), conversions(posted(7))
    bodies = [one.body for one in made]
    reply = ask(stand_in, "/na/adsApi/v1/create/events", request_body(bodies))
    assert read_reply(207, {}, reply, bodies) == PerItemReply((ItemAccepted(),) * 7)
    assert ask(stand_in, "/_count") == b"7"
    ((_, numbers),) = json.loads(ask(stand_in, "/_log"))
    assert numbers == list(range(7))
    assert ask(stand_in, "/_count") == b"0"


def test_the_rich_mapping_reads_what_its_page_says() -> None:
    """The sum of the lines, the second email address, a text of two values."""
    (first, second, *_) = converter(RICH, events())()
    assert json.loads(second.body)["value"] == 2 * (1234.5 + 7.25 + 1.99)
    assert json.loads(second.body)["customData"][2]["value"] == "sku1_acme"
    assert first.match_keys[0] == "EMAIL"
    assert first.event_at.minute == second.event_at.minute


def test_the_outbox_sends_the_same_conversion() -> None:
    """Another program is a fair reference only if Amazon gets the same from it."""
    body = posted(40)
    read = outbox.Batch.model_validate_json(body).events
    assert len(read) == 40
    for event, ours in zip(read, conversions(body), strict=True):
        theirs, sent = outbox.payload_of(event), json.loads(ours.body)
        assert theirs.keys() == sent.keys()
        for name in theirs.keys() - {"eventId", "matchKeys"}:
            assert theirs[name] == sent[name], name
        by_type = [{key["type"]: key["values"] for key in keys["matchKeys"]} for keys in (theirs, sent)]
        assert by_type[0] == by_type[1]
