"""When a writer of group commit waits for more requests before it writes."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from app.domain.event import Rejection
from app.domain.ids import OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.group_writer import FEW_EVENTS, GroupWriter
from app.ingest.pending_request import PendingRequest, SenderAccess

LINGER = 0.003
FLOOD, QUIET = OrganisationId("flood"), OrganisationId("quiet")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def requests(
    loop: asyncio.AbstractEventLoop, organisation: OrganisationId, *, events: int, number: int = 1
) -> list[PendingRequest]:
    access = SenderAccess(organisation, None)
    sent = cast("list[Any]", [Rejection] * events)  # only their number counts
    return [PendingRequest(sent, access, loop.create_future(), RequestTrace(), False) for _ in range(number)]


def writer_after(group: list[PendingRequest], *, shared: bool = True) -> GroupWriter:
    writer = GroupWriter(cast("Any", None))
    writer.take(group, 100.0, shared=shared)
    writer.end()
    return writer


def test_requests_that_came_together_wait_for_more(loop: asyncio.AbstractEventLoop) -> None:
    writer = writer_after(requests(loop, FLOOD, events=1, number=2))
    assert writer.wait_for_more(frozenset([FLOOD]), LINGER, 200.0) == LINGER
    assert writer.writing == {FLOOD}


def test_another_organisation_does_not_wait_with_them(loop: asyncio.AbstractEventLoop) -> None:
    writer = writer_after(requests(loop, FLOOD, events=100, number=4))
    assert writer.wait_for_more(frozenset([QUIET]), LINGER, 100.0) is None
    assert writer.wait_for_more(frozenset([QUIET, FLOOD]), LINGER, 100.0) is not None
    assert writer.writing == {FLOOD}  # the other writer takes the requests of the quiet one


def test_a_lone_request_does_not_wait(loop: asyncio.AbstractEventLoop) -> None:
    writer = writer_after(requests(loop, FLOOD, events=1))
    assert writer.wait_for_more(frozenset([FLOOD]), LINGER, 100.0) is None


def test_many_events_wait_longer_while_several_organisations_send(loop: asyncio.AbstractEventLoop) -> None:
    """A lone request of many events for a moment only."""
    many = requests(loop, FLOOD, events=FEW_EVENTS + 1)
    assert writer_after(many).wait_for_more(frozenset([FLOOD]), LINGER, 100.01) == 3 * LINGER
    assert writer_after(many).wait_for_more(frozenset([FLOOD]), LINGER, 100.03) is None
    assert writer_after(many, shared=False).wait_for_more(frozenset([FLOOD]), LINGER, 100.01) is None
    several = [*many, *requests(loop, FLOOD, events=1)]
    assert writer_after(several, shared=False).wait_for_more(frozenset([FLOOD]), LINGER, 200.0) == LINGER


def test_no_request_waits_after_none(loop: asyncio.AbstractEventLoop) -> None:
    writer = writer_after([])
    assert writer.writing == frozenset()
    assert writer.wait_for_more(frozenset([FLOOD]), LINGER, 100.0) is None
