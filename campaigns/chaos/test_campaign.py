"""The short campaign: a few seeded schedules against whole processes, and every schedule that once failed.

About a minute. The long form is `./run campaign chaos` (docs/campaigns.md).
"""

from pathlib import Path

import pytest

from campaigns.chaos.actions import ACTIONS, FROZEN_WORKER
from campaigns.chaos.campaign import REGRESSIONS, played
from campaigns.chaos.schedule import NOTHING, Schedule, draw, draw_liveness
from campaigns.chaos.stage import Installation

EVENTS = 600
STORED = {path.stem: Schedule.read(path) for path in sorted(REGRESSIONS.glob("*.json"))}
SHORT = [draw(8, EVENTS), STORED.pop("seed_6")]


@pytest.mark.parametrize(
    "schedules",
    [
        pytest.param(SHORT, id="short"),
        pytest.param([draw(17, EVENTS), *STORED.values()], id="long", marks=pytest.mark.long),
    ],
)
async def test_no_promise_is_broken_under_seeded_faults(schedules: list[Schedule]) -> None:
    """Callers, database and the stand-in agree as sets of ids."""
    async with Installation() as stage:
        for schedule in schedules:
            report = await played(stage, schedule)
            details = [report.line(), *map(str, schedule.steps)]
            assert report.objections == [], details
            assert report.counts["delivered"] > 0.9 * schedule.events, details


def test_one_number_decides_everything_that_is_drawn(tmp_path: Path) -> None:
    """The same seed is the same schedule; a stored one is read unchanged, constants and settings included."""
    for first, again, other in (
        (draw(7, 300), draw(7, 300), draw(8, 300)),
        (draw_liveness(7), draw_liveness(7), draw_liveness(8)),
    ):
        (tmp_path / "stored.json").write_text(first.as_json())
        assert Schedule.read(tmp_path / "stored.json") == first == again
        assert (first.posts(), first.poison()) == (again.posts(), again.poison())
        assert first.posts() != other.posts()
    names = [name for post in draw(7, 300).posts() for name in post.names]
    assert len(names) == len(set(names)) == 300
    before, after = draw_liveness(7).parts()
    assert len(before) + len(after) == len(draw_liveness(7).posts())
    assert after[0].at < 1


def test_liveness_schedules_draw_more_lanes_than_workers_and_what_can_be_broken() -> None:
    """A frozen worker leaves another one, and a request fits into its lease."""
    for seed in range(1, 200):
        schedule = draw_liveness(seed)
        assert schedule.advertisers > schedule.workers
        assert schedule.damages
        assert {schedule.broken, *(step.action for step in schedule.steps)} <= {NOTHING, *ACTIONS}
        assert schedule.broken != FROZEN_WORKER or schedule.workers > 1
        assert schedule.constants["request_deadline_s"] < schedule.constants["lease_s"] * 2 / 3
