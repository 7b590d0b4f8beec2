"""Who is let in: a table of pressures, and laws of the allowance that is learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.domain.admission import (
    MIB,
    RESERVE,
    SHED_SPECS,
    AdaptiveLimit,
    CurrentLoad,
    Limits,
    ShedReason,
    cost_of,
    over_organisation_share,
    over_share,
    retry_after,
    shed_reason,
)

BOUNDS = Limits(
    target_latency_s=3, body_bytes=32 * MIB, resident_bytes=256 * MIB, waiting_events=40_000, oldest_s=10
)
EASY = CurrentLoad(
    posts=9,
    complete=9,
    cost=MIB,
    small_cost=0,
    arriving_cost=0,
    body_bytes=MIB,
    waiting_events=10,
    oldest_s=0.1,
    resident_bytes=130 * MIB,
    parsed_bytes=0,
)
RETAINED = replace(EASY, resident_bytes=257 * MIB)


@pytest.mark.parametrize(
    ("pressure", "body_length", "cause"),
    [
        pytest.param(EASY, MIB, None, id="little is under way: come in"),
        pytest.param(EASY, None, None, id="a body of unknown length comes in as well"),
        pytest.param(
            replace(EASY, body_bytes=32 * MIB - RESERVE + 1),
            2 * MIB,
            ShedReason.BODIES,
            id="bodies would outgrow their room",
        ),
        pytest.param(
            replace(EASY, body_bytes=31 * MIB), 2 * MIB, None, id="a declared length alone takes no room"
        ),
        pytest.param(RETAINED, MIB, None, id="memory that the allocator keeps sheds nothing"),
        pytest.param(
            replace(RETAINED, cost=2 * MIB + 1), MIB, ShedReason.MEMORY, id="posts in progress need more"
        ),
        pytest.param(
            replace(RETAINED, cost=2 * MIB + 1),
            None,
            ShedReason.MEMORY,
            id="more, and a length is not declared",
        ),
        pytest.param(
            replace(RETAINED, parsed_bytes=17 * MIB), MIB, ShedReason.MEMORY, id="parsed bodies need more"
        ),
        pytest.param(
            replace(RETAINED, cost=3 * MIB, small_cost=2 * MIB),
            1_000,
            None,
            id="large posts shed no small ones",
        ),
        pytest.param(
            replace(RETAINED, small_cost=2 * MIB + 1), 1_000, ShedReason.MEMORY, id="small posts need more"
        ),
        pytest.param(
            replace(EASY, waiting_events=40_001), 1, ShedReason.COMMITS, id="the commit queue is full"
        ),
        pytest.param(replace(EASY, oldest_s=10.5), 1, ShedReason.COMMITS, id="a commit takes too long"),
        pytest.param(replace(EASY, cost=16 * MIB), 1, ShedReason.CROWDED, id="more than is answered in time"),
        pytest.param(
            replace(EASY, cost=16 * MIB, complete=7), 5 * MIB, None, id="a few of full size are no crowd"
        ),
        pytest.param(
            replace(EASY, arriving_cost=999 * MIB), MIB // 2, None, id="bodies that stall keep nobody out"
        ),
        pytest.param(
            CurrentLoad(0, 0, 99 * MIB, 99 * MIB, 0, 40 * MIB, 50_000, 99.0, 999 * MIB, 99 * MIB),
            5 * MIB,
            None,
            id="a lone post always comes in",
        ),
    ],
)
def test_a_post_is_admitted_or_gets_a_reason(
    pressure: CurrentLoad, body_length: int | None, cause: ShedReason | None
) -> None:
    assert shed_reason(pressure, AdaptiveLimit(), body_length, BOUNDS) is cause


@pytest.mark.parametrize(
    ("held", "requests", "arriving", "over"),
    [
        pytest.param(32 * MIB // 3, 2, 1, False, id="a third of the room"),
        pytest.param(32 * MIB // 3 + 1, 2, 1, True, id="more than a third of the room"),
        pytest.param(31 * MIB, 1, 1, False, id="the only request of its owner"),
        pytest.param(MIB, 300, 300, False, id="a third of the connections"),
        pytest.param(MIB, 301, 301, True, id="more bodies to come than a third of the connections"),
        pytest.param(MIB, 900, 0, False, id="many whose bodies are here"),
    ],
)
def test_an_owner_has_a_third_of_the_room_and_of_the_connections(
    held: int, requests: int, arriving: int, over: bool
) -> None:
    assert over_share(held, requests, arriving, BOUNDS) is over


def learn(
    allowance: AdaptiveLimit, took_s: float, *, now: float, began: float, share: float = 1.0
) -> AdaptiveLimit:
    return allowance.answered(
        cost=cost_of(500_000),
        began=began,
        took_s=took_s,
        under_way=round(allowance.cost * share),
        now=now,
        target_latency_s=3,
    )


def test_a_late_answer_cuts_the_allowance_once_for_each_round() -> None:
    """Those that came in before the cut were late for the same reason, and cut no more."""
    first = learn(AdaptiveLimit(), 3.1, now=10, began=6)
    assert first.cost < AdaptiveLimit().cost
    assert learn(first, 5, now=11, began=6.5) == first
    assert learn(first, 5, now=16, began=11).cost < first.cost


def test_timely_answers_add_only_while_the_allowance_is_in_use() -> None:
    """Whom nobody was kept out for says nothing of a larger one."""
    allowance = AdaptiveLimit()
    assert learn(allowance, 0.2, now=1, began=0).cost > allowance.cost
    assert learn(allowance, 0.2, now=1, began=0, share=0.3) == allowance


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1)), max_size=300))
def test_whatever_is_answered_the_allowance_keeps_within_its_ends(answers: list[tuple[float, float]]) -> None:
    allowance = AdaptiveLimit()
    for now, (took, share) in enumerate(answers):
        allowance = learn(allowance, took, now=now, began=now - took, share=share)
        assert MIB / 2 <= allowance.cost <= 64 * MIB


@given(st.floats(0.7, 20))
def test_the_allowance_settles_where_answers_are_just_in_time(capacity_mib_s: float) -> None:
    """Against a server of a steady capacity that is always full, waits end up near the patience."""
    allowance, now, waits = AdaptiveLimit(), 0.0, []
    for _ in range(300):
        wait = allowance.cost / (capacity_mib_s * MIB)
        now += max(wait, 0.1)
        for _ in range(max(1, round(allowance.cost / cost_of(500_000)))):
            allowance = learn(allowance, wait, now=now, began=now - wait)
        waits.append(wait)
    settled = waits[-50:]
    at_an_end = allowance.cost in (MIB / 2, 64 * MIB)
    assert at_an_end or 1.5 <= sum(settled) / len(settled) <= 4


@pytest.mark.parametrize("cause", ShedReason)
def test_callers_are_sent_away_for_different_times(cause: ShedReason) -> None:
    """Whole seconds over the cause's span, so that they do not all come back in one instant."""
    seconds = {retry_after(cause, jitter / 1000) for jitter in range(1000)}
    turning = SHED_SPECS[cause]
    assert (min(seconds), max(seconds)) == (turning.soonest_s, turning.latest_s)
    assert len(seconds) >= 5


@pytest.mark.parametrize(
    ("body_bytes", "requests", "arriving", "cost", "over"),
    [
        pytest.param(MIB, 30, 5, 4 * MIB, False, id="less than two thirds of everything"),
        pytest.param(22 * MIB, 30, 5, 4 * MIB, True, id="of the memory for bodies"),
        pytest.param(MIB, 800, 601, 4 * MIB, True, id="of the connections"),
        pytest.param(MIB, 30, 5, 6 * MIB, True, id="of the work in flight"),
        pytest.param(MIB, 8, 5, 40 * MIB, False, id="a few large requests are within it"),
        pytest.param(40 * MIB, 1, 1, 40 * MIB, False, id="so is the only one"),
    ],
)
def test_an_organisation_leaves_a_third_to_others(
    body_bytes: int, requests: int, arriving: int, cost: int, over: bool
) -> None:
    limit = AdaptiveLimit(cost=8 * MIB)
    assert over_organisation_share(body_bytes, requests, arriving, cost, BOUNDS, limit) is over
