"""In which order waiting requests are committed, and which of them together."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import Events
from app.domain.ids import OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.dedup import Flush
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.ingest.group_commit import CommitQueue, FlushSession, GroupCommit
from app.store.database.results import DatabaseResults
from app.telemetry import Telemetry


def request(organisation: str, events: int = 1) -> PendingRequest:
    """Return a request of which only the organisation and the number of events matter."""
    access = SenderAccess(OrganisationId(organisation), None)
    return PendingRequest(
        Events([None] * events, cast(Any, None)), access, RequestTrace(), response=cast(Any, None)
    )


def queue_of(*requests: PendingRequest) -> CommitQueue:
    queue = CommitQueue()
    for each in requests:
        queue.add(each)
    return queue


def test_organisations_take_turns() -> None:
    flood, quiet = [request("flood", 10) for _ in range(3)], request("quiet")
    queue = queue_of(*flood, quiet)
    assert queue.take(100) == [flood[0], quiet, flood[1], flood[2]]
    assert (queue.requests, queue.events, queue.take(100)) == (0, 0, [])


def test_a_request_that_does_not_fit_lets_others_pass_and_is_next() -> None:
    first, large, small = request("a", 60), request("b", 50), request("c", 40)
    queue = queue_of(first, large, small)
    assert queue.take(100) == [first, small]
    assert (queue.requests, queue.events) == (1, 50)
    later = request("a")
    queue.add(later)
    assert queue.take(100) == [large, later]


def test_a_request_above_the_limit_is_alone() -> None:
    large, small = request("a", 5_000), request("b")
    queue = queue_of(large, small)
    assert [queue.take(2_000), queue.take(2_000)] == [[large], [small]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 120)), max_size=40))
def test_every_request_leaves_once_in_the_order_of_its_organisation(sent: list[tuple[str, int]]) -> None:
    requests = [request(*each) for each in sent]
    queue = queue_of(*requests)
    taken = []
    while group := queue.take(100):
        assert len(group) == 1 or sum(len(each.events.members) for each in group) <= 100
        taken += group
    for name in "abc":
        own = [each for each in requests if each.access.organisation == name]
        assert [each for each in taken if each.access.organisation == name] == own
    assert len(taken) == len(requests)


class Written:
    """A session that writes each group at once."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    async def write(self, requests: Sequence[PendingRequest]) -> Flush:
        self.groups.append(len(requests))
        return Flush(requests, 1, [[] for _ in requests], [[] for _ in requests])

    async def close(self) -> None:
        pass


async def groups_of(*evaluated_after: int, events: int = 100, wait_s: float = 30.0) -> list[int]:
    """Store requests of which each is evaluated in so many steps, one after the other; return the groups."""
    session, results = Written(), DatabaseResults(lambda: 0.0)
    commit = GroupCommit(cast(FlushSession, session), wait_s, lambda _: None, Telemetry(), results)
    writing = asyncio.create_task(commit.run())

    async def post(steps: int) -> None:
        posted = request("a", events)
        posted.response = asyncio.get_running_loop().create_future()
        async with commit.evaluating_large():
            for _ in range(steps):
                await asyncio.sleep(0)
        assert await commit.store(posted)

    async with asyncio.timeout(20):
        await asyncio.gather(*map(post, evaluated_after))
        commit.close()
        await writing
    return session.groups


async def test_large_requests_are_written_in_halves() -> None:
    """While one half is written, the other half is evaluated."""
    assert await groups_of(5, 5, 5, 5) == [2, 2]
    assert await groups_of(5, 5) == [1, 1]


async def test_a_large_request_waits_for_no_sender_that_is_gone() -> None:
    assert await groups_of(5) == [1]


async def test_small_requests_do_not_wait_for_large_ones() -> None:
    assert await groups_of(5, 5, 5, 5, events=1) == [1, 1, 1, 1]


async def test_a_large_request_waits_for_a_limited_time() -> None:
    assert (await groups_of(5, 50_000, 5, 5, wait_s=0.0001))[0] == 1
