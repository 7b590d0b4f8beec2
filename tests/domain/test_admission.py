"""Which requests are admitted, and how the adaptive limit follows response times."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.domain.admission import (
    MIB,
    POST_COST,
    RESERVE,
    SHED_SPECS,
    UNDECLARED_COST,
    AdaptiveLimit,
    Demand,
    Limits,
    Load,
    ShedReason,
    Usage,
    backlog_too_old,
    retry_after,
    shed_reason,
)
from app.server.admission import demand_of
from app.server.request_head import EVENTS_PATH, read_head
from tests.tables import cases

LIMITS = Limits(body_bytes=24 * MIB, resident_bytes=192 * MIB, flush_s=10, connections=900)
LIMIT = AdaptiveLimit()  # 4 MiB
POST = Demand(cost=3_000, body_bytes=1_000, is_events=True)


def load_of(
    process: Usage,
    key: Usage | None = None,
    *,
    sharers: int = 1,
    flush_s: float = 0.0,
    resident_bytes: int = 0,
) -> Load:
    """Return the load of a process with one key, or with another use of one of its keys."""
    key = process if key is None else key
    return Load(process, replace(key), key, sharers, flush_s, resident_bytes)


BUSY = Usage(requests=8, cost=4 * MIB - POST.cost, body_bytes=24 * MIB - POST.body_bytes)
FULL = Usage(requests=8, cost=4 * MIB, body_bytes=23 * MIB)
RETAINED = 192 * MIB + 1  # resident bytes above the limit


def test_the_limits_in_force() -> None:
    """In bytes, seconds and events, as docs/admission.md states them."""
    assert Limits(3.0, 24 * 1_048_576, 192 * 1_048_576, 10.0, 900) == Limits()
    assert (MIB, POST_COST, RESERVE, UNDECLARED_COST) == (1_048_576, 2_048, 32_768, 65_536)
    assert AdaptiveLimit() == AdaptiveLimit(4 * MIB, float("-inf"))
    assert Usage() == Usage(requests=0, arriving=0, cost=0, body_bytes=0)
    assert Demand(1) == Demand(1, body_bytes=0, is_events=False, has_body=True, spare_bytes=0)
    assert {(spec.soonest_s, spec.latest_s) for spec in SHED_SPECS.values()} == {(1, 5), (2, 10), (60, 300)}


@cases(
    ("load", "reason"),
    {
        "exactly at both limits": (load_of(BUSY), None),
        "above the adaptive limit": (load_of(FULL), ShedReason.CROWDED),
        "a few requests, however large they are": (load_of(replace(FULL, requests=7), FULL), None),
        "above the body memory": (load_of(replace(BUSY, body_bytes=24 * MIB)), ShedReason.BODIES),
        "a flush that does not end": (load_of(BUSY, flush_s=10.01), ShedReason.COMMITS),
        "a flush of exactly the limit": (load_of(BUSY, flush_s=10.0), None),
        "above the memory limit, and more in progress than it retains": (
            load_of(replace(BUSY, cost=3 * MIB // 2), resident_bytes=RETAINED),
            ShedReason.MEMORY,
        ),
        "exactly at the memory limit": (
            load_of(replace(BUSY, cost=3 * MIB // 2), resident_bytes=RETAINED - 1),
            None,
        ),
        "memory that the allocator retains": (
            load_of(replace(BUSY, cost=3 * MIB // 2 - 3_000), resident_bytes=RETAINED),
            None,
        ),
        "the sender of everything": (load_of(FULL, sharers=2), ShedReason.SHARE),
        "exactly a share": (load_of(FULL, Usage(requests=1, cost=2 * MIB - POST.cost), sharers=2), None),
        "more than a share": (
            load_of(FULL, Usage(requests=1, cost=2 * MIB - POST.cost + 1), sharers=2),
            ShedReason.SHARE,
        ),
        "a key without another request": (load_of(FULL, Usage(), sharers=1_000), None),
        "the only request": (load_of(Usage(), flush_s=99.0, resident_bytes=RETAINED), None),
        "a key whose bodies wait on a third of the connections": (
            load_of(Usage(requests=301), Usage(requests=301, arriving=300)),
            ShedReason.SHARE,
        ),
        "a key whose bodies leave two thirds of the connections": (
            load_of(Usage(requests=300), Usage(requests=300, arriving=299)),
            None,
        ),
    },
)
def test_a_post_is_admitted_or_gets_a_reason(load: Load, reason: ShedReason | None) -> None:
    assert shed_reason(POST, load, LIMIT, LIMITS) is reason


def test_bodies_of_an_organisation_wait_on_two_thirds_of_the_connections() -> None:
    """The connections of a request whose body arrives cannot be closed for another client."""
    load = Load(Usage(requests=650), Usage(requests=650, arriving=600), Usage(), 4, 0.0, 0)
    assert shed_reason(POST, load, LIMIT, LIMITS) is ShedReason.SHARE
    load.organisation.arriving = 599
    assert shed_reason(POST, load, LIMIT, LIMITS) is None


def test_operators_have_more_body_memory_and_are_not_shed_for_a_flush() -> None:
    action = Demand(cost=40_000, body_bytes=1_000, spare_bytes=4 * MIB)
    full = load_of(replace(BUSY, cost=0, body_bytes=24 * MIB), replace(BUSY, cost=0), flush_s=99.0)
    assert shed_reason(POST, full, LIMIT, LIMITS) is not None
    assert shed_reason(action, full, LIMIT, LIMITS) is None


def test_a_request_without_a_cost_is_admitted_under_any_load() -> None:
    """Such as a probe."""
    probe = Demand(cost=0, has_body=False, spare_bytes=4 * MIB)
    stalled = Usage(requests=900, arriving=900, cost=9 * MIB, body_bytes=99 * MIB)
    for usage in (FULL, stalled):
        assert shed_reason(probe, load_of(usage, resident_bytes=RETAINED), LIMIT, LIMITS) is None


@given(
    others=st.builds(
        Usage, st.integers(0, 900), st.just(0), st.integers(0, 90 * MIB), st.integers(0, 48 * MIB)
    ),
    sharers=st.integers(1, 50),
    part=st.floats(0, 0.99),
    resident_bytes=st.integers(0, 400 * MIB),
    limit=st.floats(MIB / 2, 64 * MIB),
)
def test_below_its_share_a_key_is_admitted_whatever_others_use(
    others: Usage, sharers: int, part: float, resident_bytes: int, limit: float
) -> None:
    cost = part * min(limit, LIMITS.retained_cost) / sharers - POST.cost
    bodies = part * LIMITS.body_bytes / sharers - POST.body_bytes
    ours = Usage(1, 0, max(0, int(cost)), max(0, int(bodies)))
    process = Usage(others.requests + 1, 0, others.cost + ours.cost, others.body_bytes + ours.body_bytes)
    load = load_of(process, ours, sharers=sharers, resident_bytes=resident_bytes)
    if cost >= 0 and bodies >= 0:
        assert shed_reason(POST, load, AdaptiveLimit(limit), LIMITS) is None


def test_what_a_request_costs_and_reserves() -> None:
    """Without a length it costs 64 KiB and reserves 32."""
    headers = [[(b"content-length", b"%d" % length)] for length in (0, 10, RESERVE + 1)]
    headers.append([(b"transfer-encoding", b"chunked")])
    demands = [demand_of(read_head(b"POST", EVENTS_PATH, each)) for each in headers]
    assert [each.cost - POST_COST for each in demands] == [0, 10, RESERVE + 1, 65_536]
    assert [each.body_bytes for each in demands] == [0, 10, RESERVE, RESERVE]


MANY_ROWS, ACTION, PAGE = 524_288, 32_768, 65_536


@pytest.mark.parametrize(
    ("target", "cost"),
    [
        (b"/health/ready", 0),
        (b"/metrics", 0),
        (b"/console/live", 0),
        (b"/console/destinations/dst_1/live", 0),
        (b"/console/destinations/dst_1/event/live?id=a", 0),
        (b"/console/destinations/dst_1/events?q=a/live", PAGE),
        (b"/events/a/live?destination_id=dst_1", ACTION),
        (b"/destinations/dst_1/events?journey_id=a/live", ACTION),
        (b"/destinations/dst_1/events?format=csv&journey_id=a/live", MANY_ROWS),
        (b"/destinations/dst_1/events?f%6Frmat=%63sv", MANY_ROWS),
        (b"/destinations/dst_1/event%2Dschema", MANY_ROWS),
        (b"http://api/destinations/dst_1/event-schema", MANY_ROWS),
        (b"HTTPS://api/%73ubjects/find", MANY_ROWS),
        (b"/subjects/find", MANY_ROWS),
        (b"/event-search?q=a", MANY_ROWS),
        (b"/console/events?q=a", MANY_ROWS),
        (b"/console/tail?q=a", MANY_ROWS),
        (b"/console/tail/live?q=a", 0),
    ],
)
def test_no_spelling_of_an_address_makes_its_route_cheaper(target: bytes, cost: int) -> None:
    """What a sender may choose, such as the end of the query, does not decide either."""
    assert demand_of(read_head(b"GET", target, [])).cost == cost


@pytest.mark.parametrize("target", [b"/events", b"/%65vents", b"http://api/events", b"/events?priority=low"])
def test_a_post_of_events_is_one_in_every_spelling(target: bytes) -> None:
    head = read_head(b"POST", target, [(b"content-length", b"2000000")])
    assert demand_of(head) == Demand(POST_COST + 2_000_000, RESERVE, is_events=True)
    assert head.max_body == 5 * MIB


def after(limit: AdaptiveLimit, **more: float) -> AdaptiveLimit:
    """Return the limit after a response, by default a timely one while the complete limit is in use."""
    facts = {"cost": 1000, "began": 9.0, "took_s": 1.0, "in_progress": limit.cost, "now": 10.0} | more
    return limit.answered(**facts, target_latency_s=3.0)  # type: ignore[arg-type]


def test_a_late_response_takes_three_tenths() -> None:
    """Once for each round, because requests from before the cut were late for the same reason."""
    assert after(AdaptiveLimit(), took_s=3.01) == AdaptiveLimit(4 * MIB * 0.7, 10.0)
    assert after(AdaptiveLimit(), took_s=3.0).cost > 4 * MIB
    assert after(AdaptiveLimit(0.6 * MIB), took_s=4.0).cost == 0.5 * MIB
    cut = AdaptiveLimit(2 * MIB, cut_at=9.0)
    assert after(cut, took_s=4.0, began=9.0) is cut
    assert after(cut, took_s=4.0, began=9.1) == AdaptiveLimit(2 * MIB * 0.7, 10.0)


def test_a_timely_response_adds_its_part_of_an_eighth_of_a_mib() -> None:
    """Where at least half of the limit was in use, and never above 64 MiB."""
    limit = AdaptiveLimit(4 * MIB, cut_at=3.0)
    assert after(limit) == AdaptiveLimit(4 * MIB + 0.125 * MIB * 1000 / (4 * MIB), 3.0)
    assert after(limit, in_progress=2 * MIB) != limit
    assert after(limit, in_progress=2 * MIB - 1) is limit
    assert after(AdaptiveLimit(64 * MIB)).cost == 64 * MIB


@pytest.mark.parametrize("reason", ShedReason)
def test_retry_after_covers_its_range(reason: ShedReason) -> None:
    """Whole seconds, so that callers do not all return at the same time."""
    seconds = [retry_after(reason, jitter / 1000) for jitter in range(1000)]
    spec = SHED_SPECS[reason]
    assert (min(seconds), max(seconds)) == (spec.soonest_s, spec.latest_s)
    assert len(set(seconds)) == spec.latest_s - spec.soonest_s + 1


def test_a_lane_sheds_after_three_quarters_of_the_age_limit() -> None:
    assert not backlog_too_old(timedelta(hours=3), timedelta(hours=4))
    assert backlog_too_old(timedelta(hours=3, seconds=1), timedelta(hours=4))
