"""In which order waiting requests are committed."""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import Event
from app.domain.ids import OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.ingest.group_commit import CommitQueue


def request(organisation: str, events: int = 1) -> PendingRequest:
    """Return a request of which only the organisation and the number of events matter."""
    access = SenderAccess(OrganisationId(organisation), None)
    return PendingRequest([cast("Event", None)] * events, access, RequestTrace(), response=cast(Any, None))


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
        assert len(group) == 1 or sum(len(each.events) for each in group) <= 100
        taken += group
    for name in "abc":
        own = [each for each in requests if each.access.organisation == name]
        assert [each for each in taken if each.access.organisation == name] == own
    assert len(taken) == len(requests)
