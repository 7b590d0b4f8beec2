"""What follows from each reply of Amazon, how long a retry waits, and when 404s make a destination wait."""

import re
from typing import get_args

import pytest

from app.domain.outcomes import outcome as o
from app.domain.outcomes import settle as module
from app.domain.outcomes.settle import (
    ENDPOINT_POLICY,
    PROBE_EVERY,
    Dead,
    Deferred,
    Delivered,
    EndpointPolicy,
    MissingRun,
    PerItem,
    Retry,
    RetryAll,
    RetryPolicy,
    Settlement,
    has_answered,
    settle,
)
from tests.tables import cases

POLICY = RetryPolicy(first_wait=2, longest_wait=300, item_tries=12)


def settled(reply: o.Reply, *tries: int, jitter: float = 0.5) -> Settlement:
    return settle(reply, tries or (0, 0), policy=POLICY, jitter=jitter)


@pytest.mark.parametrize(
    ("reply", "settlement"),
    [
        (o.Throttled(7.0), Deferred("throttled")),
        (o.NotSent(), Deferred("throttled")),
        (o.Unauthorized(), Deferred("sign_in_unauthorized")),
        (o.Forbidden(), Deferred("sign_in_forbidden")),
        (o.ServerError("amazon_error"), RetryAll("amazon_error", 1.0)),
        (o.ServerError("amazon_unreadable", 0.25), RetryAll("amazon_unreadable", 1.0)),
        (o.ServerError("amazon_error", 90.0), RetryAll("amazon_error", 90.0)),
        (o.TransportError("connect"), RetryAll("amazon_unreachable", 1.0)),
        (o.TransportError("timeout"), RetryAll("outcome_unknown", 1.0)),
        (o.Missing("NOT_FOUND", ""), RetryAll("endpoint_not_found", 1.0)),
        (o.Unexpected(418, "X", "tea"), PerItem((Dead("amazon_unexpected", "X", "tea"),) * 2, 0)),
        (o.PerItemReply((o.ACCEPTED, o.ItemAccepted())), PerItem((Delivered(), Delivered()), 2)),
    ],
)
def test_a_reply_settles_its_request(reply: o.Reply, settlement: Settlement) -> None:
    """Two conversions on their first try."""
    assert settled(reply) == settlement


def test_a_request_that_amazon_refuses_is_divided_until_one_conversion_is_left() -> None:
    """The halves cost no try; the middle one of an odd number is in the second half."""
    reply = o.Divisible("BAD_REQUEST", "no")
    halves = settled(reply, 0, 5, 1)
    assert halves == PerItem(
        tuple(Retry("amazon_request_refused", 0.0, half, False, "BAD_REQUEST", "no") for half in (0, 1, 1))
    )
    four = settled(reply, 0, 0, 0, 0)
    assert isinstance(four, PerItem)
    assert [each.half for each in four.dispositions if isinstance(each, Retry)] == [0, 0, 1, 1]
    assert settled(reply, 3) == PerItem((Dead("amazon_request_refused", "BAD_REQUEST", "no"),), 0)


FAILED = o.ItemFailed("CONFLICT", "later")


def later(wait_s: float) -> Retry:
    return Retry("amazon_item_failed", wait_s, amazon_code="CONFLICT", amazon_message="later")


@pytest.mark.parametrize(
    ("item", "tries", "disposition"),
    [
        (o.ACCEPTED, 99, Delivered()),
        (o.ItemRefused("BAD", "no"), 0, Dead("amazon_refused", "BAD", "no")),
        (o.ItemRefused("BAD", "no", "a.b"), 0, Dead("amazon_refused", "BAD", "a.b: no")),
        (FAILED, 0, later(1.0)),
        (FAILED, 1, later(2.0)),
        (FAILED, 10, later(150.0)),
        (FAILED, 11, Dead("gave_up", "CONFLICT", "later")),
        (o.ItemUnknown("missing_index"), 1, Retry("outcome_unknown", 2.0, amazon_message="missing_index")),
        (o.ItemUnknown("missing_index"), 10, Retry("outcome_unknown", 150.0, amazon_message="missing_index")),
        (o.ItemUnknown("contradictory"), 11, Dead("gave_up", amazon_message="contradictory")),
    ],
)
def test_a_conversion_gets_its_own_result(item: o.Outcome, tries: int, disposition: object) -> None:
    """Beside a delivered one, which it does not concern."""
    settlement = settled(o.PerItemReply((o.ACCEPTED, item)), 0, tries)
    delivered = 1 + (item is o.ACCEPTED)
    assert settlement == PerItem((Delivered(), disposition), delivered)  # type: ignore[arg-type]


def test_a_retry_costs_a_try_and_keeps_its_request_together_unless_it_says_otherwise() -> None:
    """The defaults of a retry."""
    assert (Retry("x", 1.0).costs_try, Retry("x", 1.0).half) == (True, None)


def test_outcomes_and_conversions_must_be_as_many() -> None:
    """A reply of another length is a defect, not a delivery."""
    for outcomes in ((o.ACCEPTED,), (o.ACCEPTED,) * 3):
        with pytest.raises(ValueError, match="zip"):
            settled(o.PerItemReply(outcomes), 0, 0)


def test_a_reply_without_retry_after_adds_no_wait() -> None:
    """Only the jitter counts."""
    assert settled(o.ServerError("amazon_error"), jitter=0.0) == RetryAll("amazon_error", 0.05)


def test_a_request_waits_as_long_as_its_youngest_conversion() -> None:
    """The fewest tries decide."""
    assert settled(o.TransportError("cut"), 6, 2, 9) == RetryAll("outcome_unknown", 4.0)


@pytest.mark.parametrize(
    ("tries", "jitter", "wait"),
    [
        (0, 0.5, 1.0),
        (1, 0.5, 1.0),
        (2, 0.5, 2.0),
        (3, 0.25, 2.0),
        (8, 0.5, 128.0),
        (9, 0.5, 150.0),
        (10_000, 1.0, 300.0),
        (1, 0.0, 0.05),
        (1, 0.026, 0.052),
    ],
)
def test_the_wait_doubles_up_to_its_limit(tries: int, jitter: float, wait: float) -> None:
    """Full jitter, and never less than a twentieth of a second."""
    assert POLICY.wait(tries, jitter=jitter) == pytest.approx(wait)


def test_the_wait_of_very_many_tries_is_not_computed_without_a_limit() -> None:
    """The exponent stops at 16."""
    assert RetryPolicy(first_wait=1, longest_wait=1e9).wait(500, jitter=1.0) == 2**16


def test_the_policy_in_force() -> None:
    """docs/delivery.md: 2 s doubled up to 5 minutes, twelve tries for one conversion."""
    assert RetryPolicy() == POLICY


@pytest.mark.parametrize("reply", o.OUTCOMES)
def test_every_reply_has_a_word_for_its_attempt(reply: type[o.Reply]) -> None:
    """The word is in the attempt's row."""
    assert o.SentRequest(object.__new__(reply), None, None, 3).outcome == o.OUTCOMES[reply]


EXAMPLES: tuple[o.Reply, ...] = (
    o.PerItemReply((o.ACCEPTED, o.ACCEPTED)),
    o.Divisible("BAD_REQUEST", ""),
    o.Unexpected(418, "?", ""),
    o.Missing("NOT_FOUND", ""),
    o.ServerError("amazon_error"),
    o.TransportError("timeout"),
    o.Unauthorized(),
    o.Forbidden(),
    o.Throttled(None),
    o.NotSent(),
)


def test_the_table_of_replies_is_complete_and_true() -> None:
    """The docstring of the module has one row for each reply, with the settlement that follows."""
    assert {type(reply) for reply in EXAMPLES} == set(get_args(o.Reply))
    rows = dict(
        re.findall(r"^    .+?  +(\w+)  +(PerItem|RetryAll|Deferred)\b", module.__doc__ or "", re.MULTILINE)
    )
    assert rows == {type(reply).__name__: type(settled(reply)).__name__ for reply in EXAMPLES}


# Three 404s in a row over a minute, whatever lies between them that says nothing of the endpoint.
GONE = o.Missing("NOT_FOUND", "")


def run_of(*replies: tuple[float, o.Reply]) -> MissingRun:
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
        "a time-out between": ([(0, GONE), (9, o.TransportError("timeout")), (30, GONE), (60, GONE)], True),
        "a 500 between": ([(0, GONE), (9, o.ServerError("x")), (30, GONE), (60, GONE)], True),
        "an answer between": ([(0, GONE), (9, o.PerItemReply(())), (30, GONE), (60, GONE)], False),
        "a 429 between": ([(0, GONE), (9, o.Throttled(None)), (30, GONE), (60, GONE)], False),
        "counted from the first": ([(0, o.TransportError("cut")), (30, GONE), (60, GONE), (89, GONE)], False),
    },
)
def test_when_a_destination_waits(replies: list[tuple[float, o.Reply]], is_over: bool) -> None:
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
        (o.TransportError("timeout"), False),
        (o.ServerError("x"), False),
        (o.Throttled(None), True),
        (o.Forbidden(), True),
        (o.PerItemReply(()), True),
    ],
)
def test_what_shows_that_the_endpoint_is_there(reply: o.Reply, answered: bool) -> None:
    """Any answer that Amazon gives to a known account."""
    assert has_answered(reply) is answered


def test_nothing_dies_of_a_404() -> None:
    """However often it came: the request as a whole is tried again."""
    settled = settle(GONE, [1_000, 0], policy=RetryPolicy(), jitter=0.5)
    assert isinstance(settled, RetryAll)
    assert settled.reason == "endpoint_not_found"


def test_every_reply_has_a_name_in_the_history() -> None:
    """A reply without one could not be settled: its events would be sent again without end."""
    assert o.OUTCOMES.keys() == set(get_args(o.Reply))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (o.Missing("NOT_FOUND", "no such path"), "no such path"),
        (o.TransportError("timeout"), "timeout"),
        (o.Forbidden(), None),
        (o.PerItemReply(()), None),
    ],
)
def test_the_message_of_an_attempt(reply: o.Reply, message: str | None) -> None:
    """The words of Amazon, else why there are none."""
    assert o.SentRequest(reply, 500, None, 12).message == message
