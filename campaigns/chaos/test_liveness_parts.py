"""The parts of the liveness campaigns: forged records, drawn constants, damage, clocks, rare states."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from campaigns.chaos import constants, rare_states
from campaigns.chaos.damage import PAGE, Page
from campaigns.chaos.liveness_judge import RULES, DamageRecord, LaneRecord, LivenessEvidence, judge
from campaigns.chaos.liveness_schedule import FROZEN_API, FROZEN_WORKER, HALF_OPEN_OWN, LivenessSchedule, draw
from tests.crashes.evidence import Request
from tests.faulty_module import ROOT
from tests.pipeline import clocks


def honest() -> LivenessEvidence:
    """Three lanes: one that is sick, one with a damaged batch, one that is well."""
    accepted = {f"e{n}": 100.0 + n for n in range(20)}
    well = LaneRecord("well", accepted, {event: at + 0.1 for event, at in accepted.items()})
    sick = LaneRecord("sick", {"s1": 100.0}, {}, is_sick=True)
    torn = LaneRecord("torn", {"d1": 100.0, "d2": 101.0}, {"d2": 101.2}, has_damage=True)
    return LivenessEvidence(
        lanes=(well, sick, torn),
        baseline=(100.0, 105.0),
        quiet=(110.0, 120.0),
        ended=130.0,
        lease_s=4.0,
        declared={"d1"},
        damages=(DamageRecord("content torn", {"d1": "dead unreadable"}, frozenset({"dead unreadable"})),),
        erasures={"erasure 0": 1.0},
    )


def _late(seen: LivenessEvidence, by: float) -> None:
    well = seen.lanes[0]
    seen.lanes = (
        replace(well, delivered={e: at + by for e, at in well.accepted.items() if at > 105}),
        seen.lanes[2],
    )


def _stuck(seen: LivenessEvidence) -> None:
    well = seen.lanes[0]
    seen.lanes = (replace(well, delivered={event: at for event, at in well.delivered.items() if at < 110}),)


FORGERIES = {
    "a lane stops": ("healthy_lanes_progress", _stuck),
    "a lane is four seconds late": ("healthy_lanes_keep_their_pace", lambda seen: _late(seen, 4.0)),
    "an event is missing": ("accepted_is_delivered_or_named", _stuck),
    "a damaged event is called delivered": (
        "damage_is_named",
        lambda seen: setattr(
            seen, "damages", (replace(seen.damages[0], states={"d1": "called delivered, never taken"}),)
        ),
    ),
    "a sound event is called unreadable": ("damage_is_named", lambda seen: seen.undeclared.add("7/0")),
    "an erasure hangs": ("erasures_finish", lambda seen: setattr(seen, "erasures", {"erasure 0": None})),
    "a caller gets no answer": ("callers_are_answered", lambda seen: seen.unanswered.add("e1")),
    "a view answers 500": ("nothing_answers_500", lambda seen: setattr(seen, "internal_errors", ["GET …"])),
}


def test_an_honest_record_is_acquitted() -> None:
    """Also with an advertiser that never answers, and a batch that is damaged."""
    assert judge(honest()) == []


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_record_is_found_out(forgery: str) -> None:
    """Each rule of the judge of liveness objects to a record that breaks it."""
    rule, change = FORGERIES[forgery]
    seen = honest()
    change(seen)
    assert rule in {objection.rule for objection in judge(seen)}


def test_every_rule_has_a_forgery() -> None:
    """A rule that no record breaks would prove nothing."""
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in FORGERIES.values()}


def test_a_schedule_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    """Constants and settings included, so that a seed repeats after the tables have changed."""
    schedule = draw(7)
    (tmp_path / "kept.json").write_text(schedule.as_json())
    assert LivenessSchedule.read(tmp_path / "kept.json") == schedule == draw(7) != draw(8)
    assert schedule.posts() == draw(7).posts()
    before, after = schedule.parts()
    assert len(before) + len(after) == len(schedule.posts())
    assert after[0].at < 1


def test_schedules_draw_more_lanes_than_workers_and_what_can_be_broken() -> None:
    """A frozen worker leaves another one, and a request fits into its lease."""
    for seed in range(1, 200):
        schedule = draw(seed)
        assert schedule.advertisers > schedule.workers
        assert schedule.damages
        assert schedule.broken != FROZEN_WORKER or schedule.workers > 1
        assert schedule.constants["request_deadline_s"] < schedule.constants["lease_s"] * 2 / 3


@pytest.mark.parametrize("name", constants.CONSTANTS)
def test_every_constant_stands_where_the_table_says(name: str) -> None:
    """A line that is gone fails loudly: a constant that is not replaced would be drawn in vain."""
    constant = constants.CONSTANTS[name]
    source = (ROOT / constant.file).read_text()
    replaced = constant.replaced(source, 3)
    assert len(replaced.splitlines()) == len(source.splitlines())
    with pytest.raises(LookupError):
        constant.replaced(source.replace(f"{constant.name}", "OTHER"), 3)


def test_a_child_runs_with_the_drawn_constants() -> None:
    """Importers of a constant see the drawn value too."""
    ask = "; ".join(
        (
            "from campaigns.chaos import constants",
            "constants.install()",
            "from app.domain.pacing.lane_limits import TIMES",
            "from app.delivery.lane_leases import POLL_EVERY_S",
            "print(TIMES.lease, POLL_EVERY_S)",
        )
    )
    environment = {**os.environ, constants.VARIABLE: '{"lease_s": 7.5, "poll_every_s": 0.2}'}
    ran = subprocess.run(
        [sys.executable, "-c", ask], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert ran.stdout.split() == ["7.5", "0.2"], ran.stderr


def test_a_flipped_page_is_repaired_by_flipping_it_again(tmp_path: Path) -> None:
    """One bit of one page differs, and no other byte."""
    file = tmp_path / "relation"
    original = random.Random(1).randbytes(3 * PAGE)
    file.write_bytes(original)
    page = Page(file, block=1, at=77)
    page.flip()
    differing = [n for n, (a, b) in enumerate(zip(original, file.read_bytes(), strict=True)) if a != b]
    assert differing == [PAGE + 77]
    page.flip()
    assert file.read_bytes() == original


@pytest.mark.skipif(clocks.library() is None, reason="libfaketime is not installed (.ci/run installs it)")
def test_a_clock_that_is_off_by_forty_days_leaves_the_monotonic_one_alone() -> None:
    """Timers of a process with a wrong date run at their usual pace."""
    ask = "import time; print(time.time(), time.monotonic())"
    environment = {**os.environ, **clocks.environment("+40d")}
    ran = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    wall, monotonic = map(float, ran.stdout.split())
    ahead = datetime.fromtimestamp(wall, UTC) - datetime.now(UTC)
    assert abs(ahead - timedelta(days=40)) < timedelta(minutes=1)

    assert abs(monotonic - time.monotonic()) < 60


@pytest.mark.skipif(clocks.library() is None, reason="libfaketime is not installed (.ci/run installs it)")
def test_the_clock_of_a_running_process_jumps(tmp_path: Path) -> None:
    """It reads the offset from a file each time."""
    file = tmp_path / "clock"
    file.write_text("+0\n")
    ask = "import sys, time\nfor line in sys.stdin: print(time.time(), flush=True)"
    environment = {**os.environ, **clocks.environment(str(file))}
    with subprocess.Popen(
        [sys.executable, "-c", ask], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset, ahead in (("+0", 0), ("+2h", 7200), ("-2h", -7200), ("+0", 0)):
            file.write_text(offset + "\n")
            process.stdin.write("\n")
            process.stdin.flush()
            assert abs(float(process.stdout.readline()) - time.time() - ahead) < 60, offset


def _facts(**changes: Any) -> rare_states.Facts:
    return replace(rare_states.Facts(broken="nothing"), **changes)


def _request(**changes: Any) -> Request:
    usual = Request(1, "7", 1.0, 1.1, 207, None, True, ("a", "b"), ("x", "y"), (True, True))
    return replace(usual, **changes)


def _log(event: str, **fields: object) -> rare_states.Facts:
    return _facts(logs=[{"event": event, **fields}])


# For each state, facts in which it was met; nothing in them is met without them.
MET = {
    "a lane was taken under a second fence": _log("lane.acquired", fence=2),
    "a lease lapsed with a frozen owner": replace(_log("lane.acquired", fence=2), broken=FROZEN_WORKER),
    "a worker lost a lane that it held": _log("lane.lost"),
    "a worker gave back lanes beyond its share": _log("lane.released"),
    "a silent session was ended by another worker": _facts(
        postgres="FATAL:  terminating connection due to administrator command"
    ),
    "the settlement of a frozen worker was refused by the fence": _facts(
        broken=FROZEN_WORKER, requests=[_request(), _request(number=2)]
    ),
    "an attempt without a result was recovered": _log("attempt.recovered"),
    "429 with Retry-After": _facts(requests=[_request(status=429, retry_after=2.0)]),
    "429 during a merge window": _facts(
        requests=[_request(status=429)], merge_window_s=0.4, accepted={"7": [1.2]}
    ),
    "5xx from Amazon": _facts(requests=[_request(status=503)]),
    "a request reached its deadline": _log("attempt.finished", outcome="lost", duration_ms=2_000),
    "an answer was lost after acceptance": _facts(requests=[_request(clear=False, status=None)]),
    "the same events were sent again": _facts(requests=[_request(), _request(number=2)]),
    "a part of a request was refused for now": _facts(requests=[_request(taken=(True, False))]),
    "an access token was refused": _facts(requests=[_request(status=401)]),
    "a token was refreshed": _log("token.refreshed"),
    "a token was being refreshed by another worker": _log("token.unavailable", reason="refreshing"),
    "a breaker opened": _facts(rows={"breaker open": 1}),
    "a breaker let a probe through": _log("breaker.probe_sent"),
    "events were retried one by one": _facts(rows={"retried exceptions": 1}),
    "a batch that cannot be opened was named": _log("batch.unreadable", reason="not_opened"),
    "a batch on a bad page was named": _log("batch.unreadable", reason="XX001"),
    "a batch whose row is missing was named": _log("batch.unreadable", reason="missing"),
    "a torn schema sample was read": _facts(damage_states=frozenset({"delivered"})),
    "a missing state was declared by the balance check": _facts(
        damage_states=frozenset({"declared by the imbalance check"})
    ),
    "a checksum failure was raised by Postgres": _facts(postgres="ERROR:  invalid page in block 1"),
    "an erasure passed over a damaged batch": _log("erasure.batch_unreadable"),
    "an erasure took an event that waited": _facts(rows={"erased waiting": 1}),
    "an erasure took an event that was delivered": _facts(rows={"erased delivered": 1}),
    "one scan finished several erasures": _log("erasure.finished", erasures=2),
    "a flush was refused": _log("flush.refused"),
    "a single-round-trip flush fell back": _log("flush.single_round_trip_unavailable"),
    "a post was answered 503": _facts(answers={"503": 1}),
    "a caller got no answer and repeated": _facts(answers={"lost: ReadError": 1}),
    "a repeated event was a duplicate": _facts(
        metrics={'amazon_conversions_events_received_total{result="duplicate"}': 1.0}
    ),
    "a post ran into a frozen API": _facts(broken=FROZEN_API, answers={"lost: ReadTimeout": 1}),
    "a process was not ready": _facts(readiness=frozenset({503})),
    "a settlement failed and was written again": _log("settlement.write_failed", will_retry=True),
    "a statement reached its deadline on a half-open connection": replace(
        _log("worker.database_error", error="TimeoutError at x"), broken=HALF_OPEN_OWN
    ),
    "sessions ended with a restart of Postgres": _log("worker.database_error", error="X[57P01] at y"),
    "a COMMIT or its answer was lost": _facts(rows={"cuts": 1}),
    "a worker could not reach the database": _log("worker.database_error"),
    "a process was killed and started again": _facts(starts=1),
}


@pytest.mark.parametrize("state", rare_states.STATES)
def test_a_rare_state_is_detected_where_it_was_met_and_nowhere_else(state: str) -> None:
    """A detector that never says yes, or always does, would hide that a state was not met."""
    assert rare_states.STATES[state](MET[state])
    assert not rare_states.STATES[state](_facts())
