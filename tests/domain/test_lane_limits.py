"""Shares of a worker: no one or two lanes take all of it, and every lane has an owner among the living."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.lane_limits import LONGEST_LEASE_S, Times, fair_share, may_acquire
from app.domain.pacing.order import MIN_IN_FLIGHT, Capacity
from tests.tables import cases

totals = st.integers(MIN_IN_FLIGHT, 256)


def admits(
    capacity: Capacity, total: int, region: int, lane: int, failing: int, *, is_failing: bool = False
) -> bool:
    """Return whether a lane may start another request beside so many."""
    return capacity.admits(total=total, region=region, lane=lane, failing=failing, is_failing=is_failing)


def fill(capacity: Capacity, hanging: int, *, regions: int = 1, failing: bool = False) -> list[int]:
    """Let lanes begin requests that never end, in turn, for as long as any is admitted."""
    held = [0] * hanging
    moved = True
    while moved:
        moved = False
        for lane in range(hanging):
            if capacity.admits(
                total=sum(held),
                region=sum(held[lane % regions :: regions]),
                lane=held[lane],
                failing=sum(held) if failing else 0,
                is_failing=failing,
            ):
                held[lane] += 1
                moved = True
    return held


@given(totals)
def test_one_lane_takes_at_most_half(total: int) -> None:
    """However long it hangs and however much waits in it."""
    assert fill(Capacity(total), 1) == [Capacity(total).lane]
    assert Capacity(total).lane <= total // 2


@given(totals, st.integers(1, 3))
def test_one_and_two_and_three_lanes_leave_room_for_others(total: int, hanging: int) -> None:
    """A lane of the same region that comes later begins at once, where there are places for so many."""
    held = fill(Capacity(total), hanging)
    if hanging < Capacity(total).region:
        assert admits(Capacity(total), sum(held), sum(held), 0, 0)


@given(totals, st.integers(1, 2))
def test_lanes_that_hang_one_after_the_other_leave_room(total: int, hanging: int) -> None:
    """The first has all that it may have before the next begins; a third one of the region begins at once."""
    capacity, held = Capacity(total), 0
    for _ in range(hanging):
        lane = 0
        while admits(capacity, held, held, lane, 0):
            held, lane = held + 1, lane + 1
    assert admits(capacity, held, held, 0, 0)


@given(totals, st.integers(1, 300))
def test_a_region_leaves_a_quarter_to_the_others(total: int, hanging: int) -> None:
    """Even where every lane of a region hangs at once."""
    assert sum(fill(Capacity(total), hanging)) <= total - total // 4


@given(totals, st.integers(1, 300))
def test_failing_lanes_leave_half_to_the_healthy_ones(total: int, hanging: int) -> None:
    """Their probes may hang too; there may be any number of them."""
    capacity = Capacity(total)
    held = fill(capacity, hanging, failing=True)
    assert sum(held) <= total // 2
    assert admits(capacity, sum(held), sum(held), 0, sum(held))


@given(totals)
def test_each_request_that_may_begin_finds_a_connection(total: int) -> None:
    """The connections of a region follow from its share."""
    capacity = Capacity(total)
    assert max(sum(fill(capacity, lanes)) for lanes in (1, 2, total)) <= capacity.region


def test_the_times_that_are_in_force() -> None:
    """Sessions of frozen workers end before the leases of their lanes do; nothing is sent again too early."""
    times = Times()
    assert (times.lease, times.request, times.settled_within, times.renew_every) == (60, 25, 30, 10)
    assert LONGEST_LEASE_S == 600
    assert times.silent_after < times.lease
    assert times.lease - 2 * times.renew_every > times.request  # a request starts also after a failed renewal


def test_the_shares_that_are_in_force() -> None:
    """Of 16 requests: 12 a region, 6 a lane, 8 for lanes that fail."""
    assert (Capacity().total, MIN_IN_FLIGHT) == (32, 4)
    capacity = Capacity(16)
    assert (capacity.total, capacity.region, capacity.lane, capacity.failing) == (16, 12, 6, 8)
    assert (Times().silent_after, Times().least) == (50, 5)


@cases(
    ("now", "failing", "admitted"),
    {
        "the sixth of a lane": ((5, 5, 5, 0), False, True),
        "the seventh of a lane": ((6, 6, 6, 0), False, False),
        "as much as it leaves free in its region": ((10, 9, 2, 0), False, True),
        "more than it leaves free in its region": ((10, 9, 3, 0), False, False),
        "as much as it leaves free of all": ((14, 2, 1, 0), False, True),
        "more than it leaves free of all": ((14, 2, 2, 0), False, False),
        "the eighth of failing lanes": ((8, 8, 0, 7), True, True),
        "the ninth of failing lanes": ((8, 8, 0, 8), True, False),
        "a healthy lane beside failing ones": ((8, 8, 0, 8), False, True),
    },
)
def test_a_request_more_is_admitted_up_to_each_share(
    now: tuple[int, int, int, int], failing: bool, admitted: bool
) -> None:
    assert admits(Capacity(16), *now, is_failing=failing) is admitted


def test_no_living_worker_is_one() -> None:
    assert fair_share(7, 0) == 7


@given(st.integers(0, 500), st.integers(1, 64))
def test_every_lane_has_an_owner(lanes: int, workers: int) -> None:
    """The shares of the living workers hold all lanes, and no share is larger than need be."""
    share = fair_share(lanes, workers)
    assert share * workers >= lanes
    assert (share - 1) * workers < lanes or share == 0


def test_an_expired_lane_is_leased_beyond_the_share() -> None:
    """Its owner hangs, however many workers are counted."""
    assert may_acquire(2, 3, is_lapsed=False)
    assert not may_acquire(3, 3, is_lapsed=False)
    assert may_acquire(3, 3, is_lapsed=True)
