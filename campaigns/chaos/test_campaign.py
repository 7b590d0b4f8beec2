"""The short campaigns of faults: seeded schedules, every schedule that once failed, power cuts, a failover.

About a minute. The long forms are `./run campaign chaos`, `power-cuts` and `failover` (docs/campaigns.md).
"""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaigns.chaos.actions import ACTIONS, FROZEN_WORKER
from campaigns.chaos.campaign import REGRESSIONS, played
from campaigns.chaos.failover import line, play
from campaigns.chaos.power_cuts import cut_power, missing
from campaigns.chaos.schedule import NOTHING, Schedule, draw, draw_liveness
from campaigns.chaos.stage import Installation
from dev.drills.failover import Failover
from dev.postgres.postmaster import kill_server, server_processes
from tests.waiting import wait_until

EVENTS = 600
STORED = {path.stem: Schedule.read(path) for path in sorted(REGRESSIONS.glob("*.json"))}
SHORT = STORED.pop("seed_6")


@pytest.mark.parametrize(
    "schedules",
    [
        pytest.param([SHORT], id="short"),
        pytest.param(
            [draw(8, EVENTS), draw(17, EVENTS), *STORED.values()], id="long", marks=pytest.mark.long
        ),
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


LACKING = missing()
needs_a_forgetful_disk = pytest.mark.skipif(
    LACKING is not None and not os.environ.get("CI"), reason=f"power cuts need {LACKING}"
)


@needs_a_forgetful_disk
async def test_what_was_acknowledged_survives_a_power_cut() -> None:
    """Under load, twice in a row, and everything is delivered in the end."""
    verdict = await cut_power(2)
    assert verdict.objections == []
    assert verdict.lost == 0
    assert verdict.acknowledged > 50


def test_a_process_that_the_server_starts_during_a_cut_dies_too(tmp_path: Path) -> None:
    """It would wait for the locks of dead processes, and hold files of the file system that forgets."""
    starts = subprocess.Popen(["sh", "-c", "while :; do sleep 30 & sleep 0.001; done"], cwd=tmp_path)
    try:
        kill_server(tmp_path)
        assert starts.wait(5) == -signal.SIGKILL
        wait_until(lambda: not server_processes(tmp_path), seconds=5)
    finally:
        kill_server(tmp_path)


@pytest.mark.long
@needs_a_forgetful_disk
@pytest.mark.parametrize(
    "off",
    [{"fsync": "off"}, {"synchronous_commit": "off"}],
    ids=["without fsync", "without a synchronous commit"],
)
async def test_a_build_that_does_not_wait_for_the_disk_loses(off: dict[str, Any]) -> None:
    """The control: were nothing lost here, the file system would not forget enough to prove anything."""
    assert (await cut_power(6, **off)).lost > 0


def test_what_was_acknowledged_is_on_the_standby_and_goes_on_from_there() -> None:
    """The service finds the new primary automatically, and delivers every event."""
    found = play(1)
    assert found.passed, line(1, found)
    assert found.accepted > 500
    assert found.promoted_s < 30


def test_a_forged_record_is_found_out() -> None:
    """A lost event, a changed one, and one that Amazon got without a 202 each break a promise."""
    honest = Failover(9, 1, 9, 0, 0, {"other_bytes": 0}, {"delivered": 9}, 1.0, 2.0)
    assert honest.passed
    assert not replace(honest, lost=1).passed
    assert not replace(honest, unaccepted=1).passed
    assert not replace(honest, totals={"other_bytes": 1}).passed


@pytest.mark.long
def test_a_standby_that_is_not_waited_for_loses() -> None:
    """The control: were nothing lost here, the two would never have been apart."""
    found = play(1, synchronous=False)
    assert found.lost, line(1, found)
