"""Events are taken out of every body a caller may send, and each knows where it goes."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
import zstandard

from app.domain import strict_json
from app.domain.batch import EventMetadata, may_hold_id, pack, read_shapes
from app.domain.event import (
    BodyProblem,
    Rejection,
    amazon_event_id,
    content_digest,
    derived_event_id,
    journey_ids,
    read_events,
    read_lines,
)

A = {"event_id": "a", "user": {"email": "ada@example.com"}}
B = {"event_id": "b", "destination_id": "own", "mapping_id": "own-map"}


def read(body: Any, destination: str | None = "query", mapping: str | None = None) -> Any:
    """Read a body with the ids of the query."""
    return read_events(body, default_destination=destination, default_mapping=mapping)


def routes(outcome: Any) -> list[tuple[str | None, str, str | None]]:
    """Show the three ids of each event."""
    return [(event.event_id, event.destination_id, event.mapping_id) for event in outcome]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(A, [("a", "query", None)], id="an object is one event"),
        pytest.param([A, B], [("a", "query", None), ("b", "own", "own-map")], id="an array is a batch"),
        pytest.param({"events": [A]}, [("a", "query", None)], id="a list under events is a batch"),
        pytest.param({"rows": [A]}, [("a", "query", None)], id="a list under rows is a batch"),
        pytest.param(
            {"destination_id": "env", "mapping_id": "env-map", "events": [A, B]},
            [("a", "env", "env-map"), ("b", "own", "own-map")],
            id="an event's own id wins over the envelope's, and that over the query's",
        ),
        pytest.param({"events": [{"destination_id": None}]}, [(None, "query", None)], id="null is left out"),
        pytest.param(
            {"events": {"x": 1}}, [(None, "query", None)], id="events that is no list is catalogue data"
        ),
        pytest.param({"rows": 7, "event_id": "c"}, [("c", "query", None)], id="rows likewise"),
        pytest.param(
            {"rows": "x", "events": [A]}, [("a", "query", None)], id="one list beside data is a batch"
        ),
        pytest.param({}, [(None, "query", None)], id="an empty object is an event that says nothing"),
        pytest.param({"event": {"events": [1]}}, [(None, "query", None)], id="lists further in are data"),
    ],
)
def test_body_forms(body: Any, expected: Any) -> None:
    """Each form gives its events in order."""
    assert routes(read(body)) == expected


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(None, "malformed_body", id="null"),
        pytest.param(42, "malformed_body", id="a number"),
        pytest.param("x", "malformed_body", id="a text"),
        pytest.param(True, "malformed_body", id="a boolean"),
        pytest.param(Decimal("1.5"), "malformed_body", id="a fraction"),
        pytest.param({"events": [A], "rows": [A]}, "malformed_body", id="events and rows both lists"),
        pytest.param([], "empty_batch", id="an empty array"),
        pytest.param({"events": []}, "empty_batch", id="an empty list of events"),
        pytest.param([A] * 5001, "too_many_events", id="5,001 events"),
    ],
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


@pytest.mark.parametrize(
    ("event_id", "reason"),
    [
        pytest.param(9007199254740993, "event_id_invalid", id="a number"),
        pytest.param(["a"], "event_id_invalid", id="a list"),
        pytest.param(False, "event_id_invalid", id="a boolean"),
        pytest.param("", "event_id_invalid", id="no character"),
        pytest.param("x" * 257, "event_id_invalid", id="257 characters"),
        pytest.param("a\nb", "event_id_invalid", id="a line break"),
        pytest.param("a\x7fb", "event_id_invalid", id="a delete"),
        pytest.param("a\x85b", "event_id_invalid", id="a C1 control"),
        pytest.param("ada@example.com", "event_id_personal", id="an e-mail address"),
        pytest.param("order@7", "event_id_personal", id="any at sign"),
        pytest.param("+15551928493", "event_id_personal", id="a phone number"),
        pytest.param("+12345678", "event_id_personal", id="a phone number of 8 digits"),
        pytest.param("+123456789012345", "event_id_personal", id="a phone number of 15 digits"),
        pytest.param("+15551928493:n7", "event_id_personal", id="a phone number and a node"),
        pytest.param("order:ada%2540example.com", "event_id_personal", id="an address encoded twice"),
    ],
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
        "15551928493",
        "+1234567",
        "+1234567890123456",
        # A mobile advertising id has the form of a random UUID and cannot be distinguished from one.
        "6d92078a-8246-4ba4-ae5b-76104861e7dc",
    ],
)
def test_valid_ids(event_id: str) -> None:
    """1 to 256 characters, any but controls and the at sign."""
    assert read({"event_id": event_id})[0].event_id == event_id


@pytest.mark.parametrize(
    ("journey", "kept"),
    [
        pytest.param({"id": "j1", "execution_id": "x1"}, "x1", id="a text"),
        pytest.param({"execution_id": 42}, "42", id="a number"),
        pytest.param({"execution_id": "x" * 256}, "x" * 256, id="256 characters"),
        pytest.param({"execution_id": "x" * 257}, None, id="257 characters"),
        pytest.param({"execution_id": ""}, None, id="no character"),
        pytest.param({"execution_id": "ada@example.com"}, None, id="an e-mail address"),
        pytest.param({"execution_id": "+15551928493"}, None, id="a phone number"),
        pytest.param({"execution_id": "15551928493"}, "15551928493", id="digits alone"),
        pytest.param({"execution_id": "a\nb"}, None, id="a line break"),
        pytest.param({"execution_id": True}, None, id="a boolean"),
        pytest.param({"execution_id": ["x1"]}, None, id="a list"),
        pytest.param({"id": "j1"}, None, id="none"),
        pytest.param("x1", None, id="a journey that is a text"),
        pytest.param(None, None, id="no journey"),
    ],
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


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        pytest.param(A, "destination_missing", "destination_id", id="no destination anywhere"),
        pytest.param({**A, "destination_id": ""}, "destination_missing", "destination_id", id="an empty one"),
        pytest.param(
            {**A, "destination_id": 7}, "wrong_type", "destination_id", id="a number as destination"
        ),
        pytest.param(
            {**A, "destination_id": "d", "mapping_id": {}},
            "wrong_type",
            "mapping_id",
            id="an object as mapping",
        ),
    ],
)
def test_events_that_cannot_be_routed(body: Any, reason: str, field: str) -> None:
    """They are rejected one by one, under their own id."""
    [outcome] = read(body, destination=None)
    assert (outcome.reason, outcome.field, outcome.event_id) == (reason, field, "a")


def test_lines_are_judged_one_by_one() -> None:
    """A bad line, blank lines and carriage returns harm no neighbour; the line is named by number."""
    body = b'\n{"event_id":"a"}\r\n  \n{"a":1,"a":2}\n[1]\n{"x":"\xff"}\n{"event_id":"b"}'
    outcome = read_lines(body, default_destination="d", default_mapping=None)
    assert isinstance(outcome, list)
    assert [getattr(o, "reason", o.event_id) for o in outcome] == [
        "a",
        "malformed_line",
        "not_an_object",
        "malformed_line",
        "b",
    ]
    assert isinstance(outcome[1], Rejection)
    assert outcome[1].detail.startswith("Line 4: ")


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


def test_a_body_of_5000_lines_is_read() -> None:
    read = read_lines(b"{}\n" * 5000, default_destination="d", default_mapping=None)
    assert isinstance(read, list)
    assert len(read) == 5000


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


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SAME.replace(",", ", ").replace(":", " : "), id="other spacing"),
        pytest.param('{"ok":true,"user":{"n":[1,2.50],"email":"x"},"event_id":"a"}', id="other order"),
        pytest.param(SAME.replace('"a"', '"b"'), id="another event id"),
        pytest.param(SAME.replace("{", '{"destination_id":"d","mapping_id":"m",', 1), id="other routing"),
        pytest.param(SAME.replace("email", "\\u0065mail"), id="other escapes"),
    ],
)
def test_the_same_content_has_the_same_digest(text: str) -> None:
    """An honest retry is recognised however it was written."""
    assert digest(text) == digest(SAME)
    assert len(digest(SAME)) == 16


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SAME.replace('"x"', '"y"'), id="another value"),
        pytest.param(SAME.replace("[1,2.50]", "[2.50,1]"), id="another order in a list"),
        pytest.param(SAME.replace("2.50", '"2.50"'), id="a text instead of a number"),
        pytest.param(SAME.replace("2.50", "2.5"), id="a number written otherwise"),
        pytest.param(SAME.replace("true", "1"), id="a number instead of a boolean"),
        pytest.param(SAME.replace(',"ok":true', ""), id="a member less"),
        pytest.param(SAME.replace('"user":{', '"user":{"event_id":"z",'), id="a routing word further in"),
    ],
)
def test_other_content_has_another_digest(text: str) -> None:
    """Anything a mapping could read counts."""
    assert digest(text) != digest(SAME)


def test_the_pepper_decides() -> None:
    """Without the pepper no digest can be guessed at; a long pepper counts in full."""
    assert digest(SAME, b"q" * 32) != digest(SAME)
    assert digest(SAME, b"p" * 100) != digest(SAME, b"p" * 101)


def test_derived_ids_are_ids() -> None:
    """A derived id would itself be taken as an event id."""
    made = derived_event_id(digest(SAME))
    assert read({"event_id": made})[0].event_id == made


def test_the_amazon_event_id_is_the_published_formula() -> None:
    """Sixteen hex digits over destination, mapping and type, a colon, and the caller's id as it is."""
    import hashlib

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


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([[500, "a", 1, 1, "OTHER", 0, [], []]], id="a place beyond the last"),
        pytest.param([[0, "a", 1, 1, "OTHER", 10**17, [], []]], id="a time beyond the year 9999"),
        pytest.param([[0, "a"]], id="too few members"),
        pytest.param({"a": 1}, id="no list"),
    ],
)
def test_shapes_that_no_batch_can_have_are_damaged(value: Any) -> None:
    """A value from before there was a checksum is judged by what it says."""
    assert read_shapes(zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(value))) is None


def test_a_frame_that_states_a_huge_size_is_not_expanded() -> None:
    """Its memory would be taken before the first byte is read."""
    bomb = zstandard.ZstdCompressor().compress(bytes(100 * 1024 * 1024))
    assert read_shapes(bomb) is None
