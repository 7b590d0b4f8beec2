"""Events are taken out of every body a caller may send, and each knows where it goes."""

import hashlib
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import zstandard

from app.domain import strict_json
from app.domain.batch import EventMetadata, may_hold_id, pack, read_shapes
from app.domain.event import (
    LISTS,
    BodyProblem,
    Events,
    Rejection,
    amazon_event_id,
    content_digest,
    derived_event_id,
    journey_ids,
    read_events,
    read_lines,
)
from tests.tables import cases

A = {"event_id": "a", "user": {"email": "ada@example.com"}}
B = {"event_id": "b", "destination_id": "own", "mapping_id": "own-map"}


def read(body: Any, destination: str | None = "query", mapping: str | None = None) -> Any:
    """Read a body with the ids of the query."""
    outcome = read_events(body, default_destination=destination, default_mapping=mapping)
    return list(outcome) if isinstance(outcome, Events) else outcome


def routes(outcome: Any) -> list[tuple[str | None, str, str | None]]:
    """Show the three ids of each event."""
    return [(event.event_id, event.destination_id, event.mapping_id) for event in outcome]


@cases(
    ("body", "expected"),
    {
        "an object is one event": (A, [("a", "query", None)]),
        "an array is a batch": ([A, B], [("a", "query", None), ("b", "own", "own-map")]),
        "a list under events is a batch": ({"events": [A]}, [("a", "query", None)]),
        "a list under rows is a batch": ({"rows": [A]}, [("a", "query", None)]),
        "an event's own id wins over the envelope's, and that over the query's": (
            {"destination_id": "env", "mapping_id": "env-map", "events": [A, B]},
            [("a", "env", "env-map"), ("b", "own", "own-map")],
        ),
        "null is left out": ({"events": [{"destination_id": None}]}, [(None, "query", None)]),
        "events that is no list is catalogue data": ({"events": {"x": 1}}, [(None, "query", None)]),
        "rows likewise": ({"rows": 7, "event_id": "c"}, [("c", "query", None)]),
        "one list beside data is a batch": ({"rows": "x", "events": [A]}, [("a", "query", None)]),
        "an empty object is an event that says nothing": ({}, [(None, "query", None)]),
        "lists further in are data": ({"event": {"events": [1]}}, [(None, "query", None)]),
    },
)
def test_body_forms(body: Any, expected: Any) -> None:
    """Each form gives its events in order."""
    assert routes(read(body)) == expected


@cases(
    ("body", "problem"),
    {
        "null": (None, "malformed_body"),
        "a number": (42, "malformed_body"),
        "a text": ("x", "malformed_body"),
        "a boolean": (True, "malformed_body"),
        "a fraction": (Decimal("1.5"), "malformed_body"),
        "events and rows both lists": ({"events": [A], "rows": [A]}, "malformed_body"),
        "an empty array": ([], "empty_batch"),
        "an empty list of events": ({"events": []}, "empty_batch"),
        "5,001 events": ([A] * 5001, "too_many_events"),
    },
)
def test_bodies_without_events(body: Any, problem: str) -> None:
    """Where no event can be read, the whole body is answered."""
    outcome = read(body)
    assert isinstance(outcome, BodyProblem)
    assert outcome.problem == problem


def test_five_thousand_events_still_pass() -> None:
    """The limit is 5,000 a request."""
    assert len(read([A] * 5000)) == 5000


@pytest.mark.parametrize("member", [None, 1, "x", [A], True, Decimal("0.5")])
def test_a_member_that_is_no_object_is_rejected_alone(member: Any) -> None:
    """Its neighbours are taken, and places are kept."""
    first, bad, last = read([A, member, B])
    assert (first.event_id, last.event_id) == ("a", "b")
    assert (bad.reason, bad.code, bad.event_id) == ("not_an_object", "EVENT_PARSING_FAILED", None)


@cases(
    ("event_id", "reason"),
    {
        "a number": (9007199254740993, "event_id_invalid"),
        "a list": (["a"], "event_id_invalid"),
        "a boolean": (False, "event_id_invalid"),
        "no character": ("", "event_id_invalid"),
        "257 characters": ("x" * 257, "event_id_invalid"),
        "a line break": ("a\nb", "event_id_invalid"),
        "a delete": ("a\x7fb", "event_id_invalid"),
        "an e-mail address": ("ada@example.com", "event_id_personal"),
        "a phone number and a node": ("+15551928493:n7", "event_id_personal"),
        "an address encoded twice": ("order:ada%2540example.com", "event_id_personal"),
    },
)
def test_ids_that_are_refused_are_not_repeated(event_id: Any, reason: str) -> None:
    """A refused id is null in the answer and appears in no text."""
    [outcome] = read({**A, "event_id": event_id})
    assert (outcome.reason, outcome.field, outcome.event_id) == (reason, "event_id", None)
    assert "ada" not in repr(outcome)


@pytest.mark.parametrize(
    "event_id",
    [
        "x" * 256,
        "a",
        "ord-1001:node-7",
        "é/% ",
        " ",
        # A mobile advertising id has the form of a random UUID and cannot be distinguished from one.
        "6d92078a-8246-4ba4-ae5b-76104861e7dc",
    ],
)
def test_valid_ids(event_id: str) -> None:
    """1 to 256 characters, any but controls and the at sign."""
    assert read({"event_id": event_id})[0].event_id == event_id


@cases(
    ("journey", "kept"),
    {
        "a text": ({"id": "j1", "execution_id": "x1"}, "x1"),
        "a number": ({"execution_id": 42}, "42"),
        "256 characters": ({"execution_id": "x" * 256}, "x" * 256),
        "257 characters": ({"execution_id": "x" * 257}, None),
        "no character": ({"execution_id": ""}, None),
        "an e-mail address": ({"execution_id": "ada@example.com"}, None),
        "a line break": ({"execution_id": "a\nb"}, None),
        "a boolean": ({"execution_id": True}, None),
        "a list": ({"execution_id": ["x1"]}, None),
        "none": ({"id": "j1"}, None),
        "a journey that is a text": ("x1", None),
        "no journey": (None, None),
    },
)
def test_the_execution_id_that_an_event_is_found_by(journey: Any, kept: str | None) -> None:
    """What cannot be kept and shown is left out; the event is taken all the same."""
    assert journey_ids({**A, "journey": journey}).execution_id == kept


def test_batches_are_passed_over_by_their_bytes() -> None:
    """An execution id in none of a batch's shapes is not looked for one by one."""
    shapes = [
        EventMetadata(n, f"ord-{n}", 1, 1, "OTHER", 0, ("EMAIL",), (), None, f"läuft-{n}") for n in range(5)
    ]
    kept = pack(shapes)
    assert may_hold_id(kept, "läuft-3")
    assert not may_hold_id(kept, "läuft-5")
    assert [shape.execution_id for shape in read_shapes(kept) or ()] == [f"läuft-{n}" for n in range(5)]


@cases(
    ("body", "reason", "field"),
    {
        "no destination anywhere": (A, "destination_missing", "destination_id"),
        "an empty one": ({**A, "destination_id": ""}, "destination_missing", "destination_id"),
        "a number as destination": ({**A, "destination_id": 7}, "wrong_type", "destination_id"),
        "an object as mapping": ({**A, "destination_id": "d", "mapping_id": {}}, "wrong_type", "mapping_id"),
    },
)
def test_events_that_cannot_be_routed(body: Any, reason: str, field: str) -> None:
    """They are rejected one by one, under their own id."""
    [outcome] = read(body, destination=None)
    assert (outcome.reason, outcome.field, outcome.event_id) == (reason, field, "a")


def test_lines_are_judged_one_by_one() -> None:
    """A bad line, blank lines and carriage returns harm no neighbour; the line is named by number."""
    body = b'\n{"event_id":"a"}\r\n  \n{"a":1,"a":2}\n[1]\n{"x":"\xff"}\n{"event_id":"b"}'
    outcome = read_lines(body, default_destination="d", default_mapping=None)
    assert isinstance(outcome, Events)
    events = list(outcome)
    assert [getattr(o, "reason", o.event_id) for o in events] == [
        "a",
        "malformed_line",
        "not_an_object",
        "malformed_line",
        "b",
    ]
    assert isinstance(events[1], Rejection)
    assert events[1].detail.startswith("Line 4: ")


def test_a_line_that_holds_a_list_under_events_is_one_event() -> None:
    """NDJSON is one event a line; batches have their own form."""
    outcome = read_lines(b'{"events":[{},{}]}', default_destination="d", default_mapping="m")
    assert routes(outcome) == [(None, "d", "m")]


@pytest.mark.parametrize(
    ("body", "problem"),
    [(b"", "empty_batch"), (b"\n \r\n", "empty_batch"), (b"{}\n" * 5001, "too_many_events")],
)
def test_lines_without_events(body: bytes, problem: str) -> None:
    """Lines have the limits of batches."""
    outcome = read_lines(body, default_destination="d", default_mapping=None)
    assert isinstance(outcome, BodyProblem)
    assert outcome.problem == problem


def test_a_reader_keeps_its_event_and_not_the_body() -> None:
    """An event that waits to be sampled would keep up to 5 MB in memory."""
    body = b'{"events":[' + b'{"event_id":"a"},' * 100 + b"{}]}"
    references = sys.getrefcount(body)
    events = read_events(
        strict_json.parse_outside(body, LISTS), default_destination="d", default_mapping=None
    )
    assert isinstance(events, Events)
    event = events.reader(0)
    del events
    assert sys.getrefcount(body) == references
    assert event().event_id == "a"


def test_a_body_of_5000_lines_is_read() -> None:
    read = read_lines(b"{}\n" * 5000, default_destination="d", default_mapping=None)
    assert isinstance(read, Events)
    assert len(read.members) == 5000


def test_a_member_that_cannot_be_read_counts_for_the_destination_of_the_batch() -> None:
    """Unless that is no text, or the member is an object that names its own."""
    unread = [1, {"event_id": 2}, {"event_id": 3, "destination_id": "own"}]
    for default, expected in (("d", ["d", "d", "own"]), (7, [None, None, "own"])):
        outcome = read({"destination_id": default, "events": unread})
        assert [each.destination_id for each in outcome] == expected


def test_an_event_shows_nothing_of_a_person() -> None:
    """Neither repr nor str of an event holds what was sent."""
    assert "ada" not in f"{read(A)!r}{read(A)!s}"


PEPPER = b"p" * 32


def digest(text: str, pepper: bytes = PEPPER) -> bytes:
    """Hash the content of an event written as JSON."""
    return content_digest(strict_json.parse(text.encode()), pepper)


SAME = '{"event_id":"a","user":{"email":"x","n":[1,2.50]},"ok":true}'


@cases(
    "text",
    {
        "other spacing": SAME.replace(",", ", ").replace(":", " : "),
        "other order": '{"ok":true,"user":{"n":[1,2.50],"email":"x"},"event_id":"a"}',
        "another event id": SAME.replace('"a"', '"b"'),
        "other routing": SAME.replace("{", '{"destination_id":"d","mapping_id":"m",', 1),
        "other escapes": SAME.replace("email", "\\u0065mail"),
    },
)
def test_the_same_content_has_the_same_digest(text: str) -> None:
    """An honest retry is recognised however it was written."""
    assert digest(text) == digest(SAME)
    assert len(digest(SAME)) == 16


@cases(
    "text",
    {
        "another value": SAME.replace('"x"', '"y"'),
        "another order in a list": SAME.replace("[1,2.50]", "[2.50,1]"),
        "a text instead of a number": SAME.replace("2.50", '"2.50"'),
        "a number written otherwise": SAME.replace("2.50", "2.5"),
        "a number instead of a boolean": SAME.replace("true", "1"),
        "a member less": SAME.replace(',"ok":true', ""),
        "a routing word further in": SAME.replace('"user":{', '"user":{"event_id":"z",'),
    },
)
def test_other_content_has_another_digest(text: str) -> None:
    """Anything a mapping could read counts."""
    assert digest(text) != digest(SAME)


def test_the_pepper_decides() -> None:
    """Without the pepper no digest can be guessed at; a long pepper counts in full."""
    assert digest(SAME, b"q" * 32) != digest(SAME)
    assert digest(SAME, b"p" * 100) != digest(SAME, b"p" * 101)
    canonical = b'{"ok":true,"user":{"email":"x","n":[1,2.50]}}'
    keys = {64: b"p" * 64, 65: hashlib.blake2b(b"p" * 65).digest()}  # BLAKE2b takes at most 64 bytes
    for length, key in keys.items():
        expected = hashlib.blake2b(canonical, digest_size=16, key=key).digest()
        assert digest(SAME, b"p" * length) == expected, length


def test_derived_ids_are_ids() -> None:
    """A derived id would itself be taken as an event id."""
    made = derived_event_id(digest(SAME))
    assert made == f"derived-{digest(SAME).hex()}"
    assert read({"event_id": made})[0].event_id == made


def test_the_amazon_event_id_is_the_published_formula() -> None:
    """Sixteen hex digits over destination, mapping and type, a colon, and the caller's id as it is."""
    scope = hashlib.sha256(b"dst_1\nmap_1\nLEAD").hexdigest()[:16]
    assert amazon_event_id("dst_1", "map_1", "LEAD", "ord:1/é") == f"{scope}:ord:1/é"
    assert amazon_event_id("dst_1", "map_1", "SEARCH", "ord:1/é") != f"{scope}:ord:1/é"


def test_damaged_shapes_are_none_whatever_is_damaged() -> None:
    """Every flipped bit and every cut of a stored value: never an error, never other shapes."""
    shapes = [
        EventMetadata(n, f"ord-{n}", 1, 1, "OTHER", 0, ("EMAIL",), (), None, f"run-{n}") for n in range(9)
    ]
    kept = pack(shapes)
    assert read_shapes(kept) == shapes
    for bit in range(len(kept) * 8):
        spoiled = bytearray(kept)
        spoiled[bit // 8] ^= 1 << bit % 8
        # A bit of the frame's description may mean the same.
        assert read_shapes(bytes(spoiled)) in (None, shapes), bit
        assert isinstance(may_hold_id(bytes(spoiled), "run-3"), bool)
    assert {read_shapes(kept[:length]) is None for length in range(len(kept))} == {True}
    assert read_shapes(None) is None


@cases(
    "value",
    {
        "a place beyond the last": [[500, "a", 1, 1, "OTHER", 0, [], []]],
        "a time beyond the year 9999": [[0, "a", 1, 1, "OTHER", 10**17, [], []]],
        "too few members": [[0, "a"]],
        "no list": {"a": 1},
    },
)
def test_shapes_that_no_batch_can_have_are_damaged(value: Any) -> None:
    """A value from before there was a checksum is judged by what it says."""
    assert read_shapes(zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(value))) is None


def test_a_frame_that_states_a_huge_size_is_not_expanded() -> None:
    """Its memory would be taken before the first byte is read."""
    assert read_shapes(zstandard.ZstdCompressor().compress(bytes(100 * 1024 * 1024))) is None
