"""The short campaign: a few seeded schedules against whole processes, and every schedule that once failed.

About a minute. The long form is `./run campaign chaos` (docs/campaigns.md).
"""

import asyncio
from pathlib import Path

import pytest

from campaigns.chaos.actions import ACTIONS as IMPLEMENTED
from campaigns.chaos.campaign import REGRESSIONS, keep, played, shrink, staged
from campaigns.chaos.schedule import ACTIONS as DRAWN
from campaigns.chaos.schedule import Schedule, Step, draw

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
    async with staged() as stage:
        for schedule in schedules:
            report = await played(stage, schedule)
            details = [report.line(), *map(str, schedule.steps)]
            assert report.objections == [], details
            assert report.delivered > 0.9 * schedule.events, details


def test_one_number_decides_everything_that_is_drawn() -> None:
    """The same seed is the same schedule, posts and poisoned events; another one is another."""
    first, again, other = draw(7, 300), draw(7, 300), draw(8, 300)
    assert (first, first.posts(), first.poison()) == (again, again.posts(), again.poison())
    assert first.posts() != other.posts()
    names = [name for post in first.posts() for name in post.names]
    assert len(names) == len(set(names)) == 300


def test_every_act_that_is_drawn_can_be_done() -> None:
    """No schedule asks for what the stage cannot do."""
    assert set(DRAWN) <= set(IMPLEMENTED)


def test_a_stored_schedule_is_read_unchanged(tmp_path: Path) -> None:
    """Also long after the way of drawing has changed."""
    schedule = draw(11, 200)
    assert Schedule.read(keep(schedule, tmp_path)) == schedule


async def test_a_failing_schedule_is_made_as_small_as_it_still_fails() -> None:
    """Steps that do not matter are dropped, and events halved."""
    needed = {"kill a worker", "lose a COMMIT's answer"}
    others = [
        Step(float(n), action) for n, action in enumerate(("kill an API", "Amazon", "pause and resume"))
    ]
    steps = (others[0], Step(3.0, "kill a worker"), *others[1:], Step(6.0, "lose a COMMIT's answer"))
    tried = []

    async def fails(schedule: Schedule) -> bool:
        await asyncio.sleep(0)
        tried.append(schedule)
        return needed <= {step.action for step in schedule.steps} and schedule.events >= 100

    smallest = await shrink(Schedule(1, 1_000, 5.0, steps), fails)
    assert {step.action for step in smallest.steps} == needed
    assert 100 <= smallest.events < 200
    assert len(tried) < 30
