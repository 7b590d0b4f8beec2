"""Three 404s in a row over a minute, whatever lies between them that says nothing of the endpoint."""

from typing import get_args

import pytest

from app.domain.outcomes.outcome import (
    OUTCOMES,
    Forbidden,
    Missing,
    PerItemReply,
    Reply,
    SentRequest,
    ServerError,
    Throttled,
    TransportError,
)
from app.domain.outcomes.settle import (
    ENDPOINT_POLICY,
    PROBE_EVERY,
    EndpointPolicy,
    MissingRun,
    RetryAll,
    RetryPolicy,
    has_answered,
    settle,
)
from tests.tables import cases

GONE = Missing("NOT_FOUND", "")


def run_of(*replies: tuple[float, Reply]) -> MissingRun:
    run = MissingRun(replies[0][0])
    for now, reply in replies:
        run = run.after(reply, now)
    return run


@cases(
    ("replies", "is_over"),
    {
        "three over a minute": ([(0, GONE), (30, GONE), (60, GONE)], True),
        "three in less than a minute": ([(0, GONE), (1, GONE), (59, GONE)], False),
        "two": ([(0, GONE), (61, GONE)], False),
        "more than three": ([(0, GONE), (1, GONE), (2, GONE), (61, GONE)], True),
        "a time-out between": ([(0, GONE), (9, TransportError("timeout")), (30, GONE), (60, GONE)], True),
        "a 500 between": ([(0, GONE), (9, ServerError("x")), (30, GONE), (60, GONE)], True),
        "an answer between": ([(0, GONE), (9, PerItemReply(())), (30, GONE), (60, GONE)], False),
        "a 429 between": ([(0, GONE), (9, Throttled(None)), (30, GONE), (60, GONE)], False),
        "counted from the first": ([(0, TransportError("cut")), (30, GONE), (60, GONE), (89, GONE)], False),
    },
)
def test_when_a_destination_waits(replies: list[tuple[float, Reply]], is_over: bool) -> None:
    """The policy of interface §3."""
    assert run_of(*replies).is_too_long(ENDPOINT_POLICY, replies[-1][0]) is is_over


def test_the_times_that_are_in_force() -> None:
    """Interface §3: three in a row over 60 s, a probe every 5 minutes."""
    assert EndpointPolicy(times=3, over=60, probe_every=300) == ENDPOINT_POLICY
    assert PROBE_EVERY == "every 5 minutes"


@pytest.mark.parametrize(
    ("reply", "answered"),
    [
        (GONE, False),
        (TransportError("timeout"), False),
        (ServerError("x"), False),
        (Throttled(None), True),
        (Forbidden(), True),
    ],
)
def test_what_shows_that_the_endpoint_is_there(reply: Reply, answered: bool) -> None:
    """Any answer that Amazon gives to a known account."""
    assert has_answered(reply) is answered


def test_nothing_dies_of_a_404() -> None:
    """However often it came: the request as a whole is tried again."""
    settled = settle(GONE, [1_000, 0], policy=RetryPolicy(), jitter=0.5)
    assert isinstance(settled, RetryAll)
    assert settled.reason == "endpoint_not_found"


def test_every_reply_has_a_name_in_the_history() -> None:
    """A reply without one could not be settled: its events would be sent again without end."""
    assert OUTCOMES.keys() == set(get_args(Reply))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Missing("NOT_FOUND", "no such path"), "no such path"),
        (TransportError("timeout"), "timeout"),
        (Forbidden(), None),
        (PerItemReply(()), None),
    ],
)
def test_the_message_of_an_attempt(reply: Reply, message: str | None) -> None:
    """The words of Amazon, else why there are none."""
    assert SentRequest(reply, 500, None, 12).message == message
