"""The parts of the liveness campaigns: forged records, drawn constants."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from campaigns.chaos import constants
from campaigns.chaos.liveness_judge import RULES, Bounds, DamageRecord, LaneRecord, LivenessEvidence, judge
from tests.faulty_module import ROOT


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


def _set(name: str, value: object) -> Callable[[LivenessEvidence], None]:
    return lambda seen: setattr(seen, name, value)


def _call_delivered(seen: LivenessEvidence) -> None:
    seen.damages = (replace(seen.damages[0], states={"d1": "called delivered, never taken"}),)


def _bound(seen: LivenessEvidence, gap: float = 1.5, delay: float = 0.5, signs: Sequence[str] = ()) -> None:
    seen.lanes, seen.bounds = seen.lanes[:1], Bounds(gap, delay, frozenset(signs))
    seen.intake = [*seen.lanes[0].accepted.values()]


FORGERIES = {
    "a lane stops": ("healthy_lanes_progress", _stuck),
    "a lane is four seconds late": ("healthy_lanes_keep_their_pace", lambda seen: _late(seen, 4.0)),
    "an event is missing": ("accepted_is_delivered_or_named", _stuck),
    "a damaged event is called delivered": ("damage_is_named", _call_delivered),
    "a sound event is called unreadable": ("damage_is_named", lambda seen: seen.undeclared.add("7/0")),
    "an erasure hangs": ("erasures_finish", _set("unfinished_erasures", ["erasure 0"])),
    "a caller gets no answer": ("callers_are_answered", lambda seen: seen.unanswered.add("e1")),
    "an event goes to another advertiser": ("only_its_own_advertiser", _set("misplaced", ["e1"])),
    "posts wait beside a single fault": ("bounds_hold", lambda seen: _bound(seen, gap=0.5)),
    "an advertiser waits beside a single fault": ("bounds_hold", lambda seen: _bound(seen, delay=0.05)),
    "nothing reports a single fault": ("a_fault_is_reported", lambda seen: _bound(seen, signs=["failing"])),
    "a view answers 500": ("answers_are_expected", _set("unexpected", ["GET …"])),
}


def test_an_honest_record_is_acquitted() -> None:
    """Also with an advertiser that never answers, and a batch that is damaged."""
    assert judge(honest()) == []
    beside_a_single_fault = honest()
    _bound(beside_a_single_fault)
    assert judge(beside_a_single_fault) == []


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


@pytest.mark.parametrize("name", constants.CONSTANTS)
def test_every_constant_stands_where_the_table_says(name: str) -> None:
    """A line that is gone fails loudly: a constant that is not replaced would be drawn in vain."""
    constant = constants.CONSTANTS[name]
    source = (ROOT / constant.file).read_text()
    assert len(constant.replaced(source, 3).splitlines()) == len(source.splitlines())
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
