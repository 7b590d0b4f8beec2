"""The response to every request of `tests/edge/cases.py`, alone, pipelined and in segments.

Three laws hold for all of them: each response on a connection belongs to a request, an event is stored
exactly if its request got a 202, and a status does not depend on where segments end.
"""

import itertools
from collections.abc import Iterable

import pytest

from tests.edge.cases import CASES, ID_LENGTH, KEY, Case, chunked, head, post
from tests.edge.service import EdgeService
from tests.edge.wire import Exchange, Wire, boundaries, single_bytes
from tests.tables import cases

_numbers = itertools.count()
# With these the server may close at once: it cannot know where the request ends.
FRAMING = frozenset({400, 414, 431, 501, 505})
GOOD = Case("good", post(), frozenset({202}), True)
IN_CHUNKS = Case("good, in chunks", chunked(), frozenset({202}), True)
WORDS = {
    400: ("malformed", "credentials_ambiguous"),
    401: ("unauthorized",),
    413: ("too_large",),
    415: ("unsupported_media_type",),
    417: ("expectation_failed",),
    431: ("head_too_large",),
    501: ("not_implemented",),
    505: ("http_version_not_supported",),
}


def new_id() -> str:
    """Return an id that no other sending has, of the length that the table counts on."""
    return f"e{next(_numbers):0{ID_LENGTH - 1}d}"


class Desk:
    """Sends cases as one caller and notes which events must be stored."""

    def __init__(self, service: EdgeService) -> None:
        self.service = service
        self.caller = service.callers[0]
        self.accepted: set[str] = set()
        self.refused: set[str] = set()

    def fill(self, case: Case, event_id: str) -> bytes:
        return case.of(key=self.caller.key, destination=self.caller.destination, event_id=event_id)

    def probe(self, event_id: str) -> bytes:
        """Return a last request, which shows whether the connection is served on."""
        return head(
            "Host: edge",
            f"X-Request-Id: probe-{event_id}",
            "Connection: close",
            method="GET",
            target="/health/live",
        )

    def exchange(self, *segments: bytes, head_at: int | None = None, ends_half: bool = False) -> Exchange:
        """Send on a connection of its own; return all that comes. `head_at`: the place of a HEAD request."""
        wire = Wire(self.service.port)
        wire.send(*segments)
        if ends_half:
            wire.end_sending()
        got = wire.read(heads=frozenset() if head_at is None else frozenset({head_at}))
        wire.close()
        return got

    def note(self, event_id: str, status: int | None) -> None:
        (self.accepted if status == 202 else self.refused).add(event_id)

    def check_stored(self) -> None:
        """Hold what is stored to what was answered."""
        stored = self.service.newest_events(self.caller.destination)
        assert self.accepted <= stored, "answered 202 and not stored"
        assert not self.refused & stored, "stored without a 202"


@pytest.fixture
def desk(service: EdgeService) -> Iterable[Desk]:
    made = Desk(service)
    yield made
    made.check_stored()


def judge(case: Case, event_id: str, got: Exchange, how: str) -> None:
    """Hold what came on a connection to the table. `got` began with the case and ended with the probe."""
    details = f"{case.name}, {how}: {got.statuses}, {got.end}, {got.rest[:60]!r}"
    assert got.responses, details
    assert got.responses[0].status in case.status, details
    assert got.responses[0].request_id != "from-a-trailer", details
    assert not got.interim or b"HTTP/1.0" not in case.request, details
    words = WORDS.get(got.responses[0].status)
    assert case.head or words is None or got.responses[0].json()["error"] in words, details
    if case.kept is True:
        assert got.statuses[1:] == [200], details
    elif case.kept is False:
        assert got.statuses[1:] == [], details
    else:
        assert got.statuses[1:] in ([], [200]), details
    if got.statuses[1:]:
        assert got.responses[1].request_id == f"probe-{event_id}", details
    assert got.end == "eof", details
    assert not got.rest, details


def alone(desk: Desk, case: Case, *segments_at: int) -> tuple[str, Exchange]:
    """Send a case cut at these places; the probe follows once the answer is there."""
    event_id = new_id()
    request = desk.fill(case, event_id)
    places = [0, *segments_at, len(request)]
    wire = Wire(desk.service.port)
    try:
        wire.send(*(request[a:b] for a, b in itertools.pairwise(places)))
        heads = frozenset({0} if case.head else ())
        wire.read(until=1, heads=heads)
        announced = wire.announces_close()
        if not announced:
            wire.send(desk.probe(event_id))
        got = wire.read(heads=heads)
        # A proxy reuses a connection after a response without `Connection: close`. If the server closes it,
        # the next request is lost.
        assert announced or got.statuses[1:] == [200], f"{case.name}: closed without saying so"
    finally:
        wire.close()
    desk.note(event_id, got.statuses[0] if got.statuses else None)
    return event_id, got


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_gets_what_the_table_says(desk: Desk, case: Case) -> None:
    """In one segment, in two, and with a request right behind it in the same segment."""
    event_id, got = alone(desk, case)
    judge(case, event_id, got, "in one segment")
    # A client that sends all before it reads must be able to.
    assert not got.unsent or case.status <= FRAMING, f"{case.name}: not all could be sent"
    if case.cut:
        for place in boundaries(desk.fill(case, event_id), few=case.status <= FRAMING):
            event_id, got = alone(desk, case, place)
            judge(case, event_id, got, f"cut at {place}")
    if case.bytewise:
        event_id, got = alone(desk, case, *single_bytes(desk.fill(case, event_id)))
        judge(case, event_id, got, "byte by byte")

    event_id = new_id()
    got = desk.exchange(desk.fill(case, event_id) + desk.probe(event_id), head_at=0 if case.head else None)
    desk.note(event_id, got.statuses[0] if got.statuses else None)
    judge(case, event_id, got, "with a request behind it")


@pytest.mark.parametrize("case", [case for case in CASES if case.cut], ids=lambda case: case.name)
def test_a_request_behind_a_good_one_gets_the_same(desk: Desk, case: Case) -> None:
    """A good post before it, in the same segment, is answered first, or refused and not stored."""
    # Behind a body that ends no line, the parser takes RTSP for HTTP. Both have the same framing.
    good = IN_CHUNKS if "RTSP" in case.name else GOOD
    for size in (50, 1 << 20) if case.bytewise else (1 << 20,):
        first, second = new_id(), new_id()
        whole = desk.fill(good, first) + desk.fill(case, second) + desk.probe(second)
        segments = (whole[at : at + size] for at in range(0, len(whole), size))
        got = desk.exchange(*segments, head_at=1 if case.head else None)
        if got.statuses and got.statuses[0] == 202:
            desk.note(first, got.responses.pop(0).status)
        else:
            # One refusal for both is right where nothing of them was acted upon.
            assert (len(got.statuses), good) == (1, GOOD), got
            assert got.statuses[0] in case.status & FRAMING, got
            desk.note(first, None)
        desk.note(second, got.statuses[0] if got.statuses else None)
        judge(case, second, got, f"behind a good one, {size} bytes at once")


def test_twenty_requests_in_one_segment_are_answered_in_order(desk: Desk) -> None:
    """RFC 9112 §9.3.2."""
    ids = [new_id() for _ in range(20)]
    got = desk.exchange(b"".join(desk.fill(GOOD, one) for one in ids) + desk.probe("last"))
    assert [response.request_id for response in got.responses] == [*ids, "probe-last"]
    for one in ids:
        desk.note(one, 202)


@cases(
    ("fields", "status", "size"),
    {
        "no key": (("Host: edge", "Content-Type: application/json"), 401, 1000),
        "no media type": (("Host: edge", f"X-Api-Key: {KEY}"), 415, 1000),
        "6 MiB": (("Host: edge", f"X-Api-Key: {KEY}", "Content-Type: application/json"), 413, 6 << 20),
    },
)
@pytest.mark.parametrize("more", [(), ("Connection: upgrade", "Upgrade: h2c"), ("Expect: 100-continue",)])
def test_an_early_answer_leaves_nothing_of_the_body_behind(
    desk: Desk, fields: tuple[str, ...], status: int, size: int, more: tuple[str, ...]
) -> None:
    """The answer comes before the body; the body, itself a request, is never served as one."""
    smuggled = b"\r\n" * (size // 2 - 40) + b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Ignore: "
    request = post(*more, fields=fields, body=smuggled)
    request = request.replace(KEY.encode(), desk.caller.key.encode())
    body_at = request.index(b"\r\n\r\n") + 4
    wire = Wire(desk.service.port)
    wire.send(request[:body_at])
    wire.read(until=1)
    assert wire.result.statuses == [status]
    wire.send(request[body_at:], desk.probe("early"))
    got = wire.read()
    wire.close()
    assert got.statuses in ([status], [status, 200]), got
    assert all(response.request_id == "probe-early" for response in got.responses[1:])
    # A client that sends its body after a final response to `Expect` may get a reset.
    assert got.end == "eof" or more[:1] == ("Expect: 100-continue",)


@pytest.mark.parametrize("name", ["length", "two chunks", "ids in the query", "h2c: events", "liveness"])
def test_a_client_that_ends_its_half_is_answered(desk: Desk, name: str) -> None:
    """RFC 9112 §9.6: the request is complete, so it is served, and its response can still be read."""
    case = next(case for case in CASES if case.name == name)
    event_id = new_id()
    got = desk.exchange(desk.fill(case, event_id), ends_half=True)
    assert got.statuses == [next(iter(case.status))]
    assert got.end == "eof"
    if 202 in case.status:
        desk.note(event_id, 202)


def test_a_client_that_ends_its_half_within_a_body_stores_nothing(desk: Desk) -> None:
    """RFC 9112 §8: an incomplete message is not acted upon."""
    event_id = new_id()
    got = desk.exchange(desk.fill(GOOD, event_id)[:-1], ends_half=True)
    assert (got.statuses, got.end) == ([], "eof")
    desk.note(event_id, None)
