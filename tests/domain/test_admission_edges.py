"""Admission control exactly on its limits, and the constants as docs/operations.md states them."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from app.domain.admission import (
    MIB,
    ORGANISATION_SECONDS,
    POST_COST,
    RESERVE,
    SHED_SPECS,
    UNDECLARED_COST,
    AdaptiveLimit,
    CurrentLoad,
    Limits,
    ShedReason,
    backlog_too_old,
    cost_of,
    counted_cost,
    over_organisation_share,
    over_share,
    reserve_of,
    retry_after,
    shed_reason,
)

LIMITS = Limits()
FULL = CurrentLoad(1, 8, 0, 0, 0, 24 * MIB - RESERVE, 40_000, 10.0, 192 * MIB, 0)
RETAINED = replace(FULL, resident_bytes=FULL.resident_bytes + 1)


def test_the_limits_in_force() -> None:
    """In bytes, seconds and events."""
    assert Limits(3.0, 24 * 1_048_576, 192 * 1_048_576, 40_000, 10.0, 900) == LIMITS
    assert (MIB, POST_COST, RESERVE, UNDECLARED_COST) == (1_048_576, 2_048, 32_768, 65_536)
    assert AdaptiveLimit() == AdaptiveLimit(4 * MIB, float("-inf"))
    assert {(spec.soonest_s, spec.latest_s) for spec in SHED_SPECS.values()} == {(1, 5), (2, 10), (60, 300)}
    assert SHED_SPECS[ShedReason.LANE].latest_s == 300
    assert SHED_SPECS[ShedReason.COMMITS].soonest_s == SHED_SPECS[ShedReason.MEMORY].soonest_s == 2
    assert SHED_SPECS[ShedReason.COMMITS].latest_s == SHED_SPECS[ShedReason.MEMORY].latest_s == 10
    assert SHED_SPECS[ShedReason.SHARE].latest_s == SHED_SPECS[ShedReason.BODIES].latest_s == 5
    assert SHED_SPECS[ShedReason.SHARE].soonest_s == SHED_SPECS[ShedReason.CROWDED].soonest_s == 1


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (FULL, None),
        (replace(FULL, body_bytes=FULL.body_bytes + 1), ShedReason.BODIES),
        (RETAINED, None),
        (replace(RETAINED, cost=3 * MIB // 2), None),
        (replace(RETAINED, cost=3 * MIB // 2 + 1), ShedReason.MEMORY),
        (replace(FULL, cost=3 * MIB // 2 + 1), None),
        (replace(RETAINED, parsed_bytes=24 * MIB), None),
        (replace(RETAINED, parsed_bytes=24 * MIB + 1), ShedReason.MEMORY),
        (replace(FULL, waiting_events=40_001), ShedReason.COMMITS),
        (replace(FULL, oldest_s=10.01), ShedReason.COMMITS),
        (replace(FULL, cost=4 * MIB - POST_COST - RESERVE), None),
        (replace(FULL, cost=4 * MIB - POST_COST - RESERVE + 1), ShedReason.CROWDED),
        (replace(FULL, cost=99 * MIB, complete=7), None),
        (replace(FULL, cost=99 * MIB, posts=0), None),
    ],
)
def test_a_limit_that_is_reached_admits_and_one_more_is_shed(
    load: CurrentLoad, reason: ShedReason | None
) -> None:
    assert shed_reason(load, AdaptiveLimit(), RESERVE, LIMITS) is reason


def test_a_post_up_to_8_kib_is_small() -> None:
    """With 2 KiB for the request. The memory of small posts sheds it, that of large ones does not."""
    busy = replace(RETAINED, cost=9 * MIB, parsed_bytes=99 * MIB, small_cost=3 * MIB // 2)
    shed = [shed_reason(busy, AdaptiveLimit(99 * MIB), length, LIMITS) for length in (6_144, 6_145)]
    assert shed == [None, ShedReason.MEMORY]
    full = replace(busy, small_cost=busy.small_cost + 1)
    assert shed_reason(full, AdaptiveLimit(99 * MIB), 1, LIMITS) is ShedReason.MEMORY


def test_what_a_request_costs_and_reserves() -> None:
    """Without a length it costs 64 KiB and reserves 32."""
    assert (cost_of(0), cost_of(10), cost_of(None)) == (2_048, 2_058, 2_048 + 65_536)
    assert (reserve_of(0), reserve_of(10), reserve_of(RESERVE + 1), reserve_of(None)) == (
        0,
        10,
        RESERVE,
        RESERVE,
    )
    assert counted_cost(5, 7, AdaptiveLimit(20)) == 12
    assert counted_cost(5, 17, AdaptiveLimit(20)) == 15


@pytest.mark.parametrize(
    ("held", "requests", "arriving", "over"),
    [
        (99 * MIB, 1, 1, False),
        (99 * MIB, 0, 1, False),
        (8 * MIB, 2, 300, False),
        (8 * MIB + 1, 2, 0, True),
        (0, 2, 301, True),
    ],
)
def test_a_share_is_a_third(held: int, requests: int, arriving: int, over: bool) -> None:
    assert over_share(held, requests, arriving, LIMITS) is over


@pytest.mark.parametrize(
    ("held", "requests", "arriving", "cost", "over"),
    [
        (99 * MIB, 1, 900, 99 * MIB, False),
        (16 * MIB, 2, 600, 0, False),
        (16 * MIB + 1, 2, 0, 0, True),
        (0, 2, 601, 0, True),
        (0, 9, 0, 200, False),
        (0, 9, 0, 201, True),
        (0, 8, 0, 99 * MIB, False),
    ],
)
def test_an_organisation_has_two_thirds(
    held: int, requests: int, arriving: int, cost: int, over: bool
) -> None:
    """Of the body memory, of the connections and of the work in flight; a few requests are always within."""
    assert over_organisation_share(held, requests, arriving, cost, LIMITS, AdaptiveLimit(300)) is over
    assert ORGANISATION_SECONDS == 600


def learned(limit: AdaptiveLimit, **more: float) -> AdaptiveLimit:
    facts = {"cost": 1000, "began": 9.0, "took_s": 1.0, "under_way": limit.cost, "now": 10.0} | more
    return limit.answered(**facts, target_latency_s=3.0)  # type: ignore[arg-type]


def test_a_late_response_takes_three_tenths() -> None:
    """Once for each round, and never below half a MiB."""
    assert learned(AdaptiveLimit(), took_s=3.01) == AdaptiveLimit(4 * MIB * 0.7, 10.0)
    assert learned(AdaptiveLimit(), took_s=3.0).cost > 4 * MIB
    assert learned(AdaptiveLimit(0.6 * MIB), took_s=4.0).cost == 0.5 * MIB
    cut = AdaptiveLimit(2 * MIB, cut_at=9.0)
    assert learned(cut, took_s=4.0, began=9.0) is cut
    assert learned(cut, took_s=4.0, began=9.1) == AdaptiveLimit(2 * MIB * 0.7, 10.0)


def test_a_timely_response_adds_its_part_of_an_eighth_of_a_mib() -> None:
    """Where at least half of the limit was in use, and never above 64 MiB."""
    limit = AdaptiveLimit(4 * MIB, cut_at=3.0)
    assert learned(limit) == AdaptiveLimit(4 * MIB + 0.125 * MIB * 1000 / (4 * MIB), 3.0)
    assert learned(limit, under_way=2 * MIB) != limit
    assert learned(limit, under_way=2 * MIB - 1) is limit
    assert learned(AdaptiveLimit(64 * MIB)).cost == 64 * MIB


def test_a_lane_sheds_after_three_quarters_of_the_age_limit() -> None:
    assert not backlog_too_old(timedelta(hours=3), timedelta(hours=4))
    assert backlog_too_old(timedelta(hours=3, seconds=1), timedelta(hours=4))


def test_retry_after_covers_its_range_evenly() -> None:
    """From the first second to the last, both included."""
    waits = [retry_after(ShedReason.CROWDED, jitter / 10) for jitter in range(10)]
    assert waits == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
