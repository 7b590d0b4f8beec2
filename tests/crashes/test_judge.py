"""The judge itself is judged: every promise has a forged record that must make it object."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.crashes.evidence import STATES, Attempt, Evidence, Request, Sample, Stop
from tests.crashes.judge import RULES, judge

NOTHING = dict.fromkeys(STATES, 0)


def request(number: int, *ids: str, began: float, **other: object) -> Request:
    honest = Request(
        number=number,
        advertiser="7",
        began=began,
        ended=began + 0.1,
        status=207,
        clear=True,
        ids=ids,
        hashes=tuple(f"bytes of {event}" for event in ids),
        taken=tuple(True for _ in ids),
    )
    return replace(honest, **other)


def honest() -> Evidence:
    """Four events: two at once, one after an unknown outcome, one after a 429 and a pause."""
    lost = request(2, "c", began=11.0, status=None, clear=False)
    throttled = request(4, "d", began=12.0, status=429, retry_after=2.0, taken=(False,), ended=12.0)
    return Evidence(
        offered={"a", "b", "c", "d", "bad"},
        acknowledged={"a", "b", "c", "d"},
        refused={"bad"},
        stored={event: ["delivered"] for event in "abcd"},
        listed={event: ["delivered"] for event in "abcd"},
        requests=[
            request(1, "a", "b", began=10.0),
            lost,
            request(3, "c", began=11.5),
            throttled,
            request(5, "d", began=20.0),
        ],
        attempts=[
            Attempt(1, "7", 1, 9.9, 10.2, 207),
            Attempt(2, "7", None, 10.9, 11.2, None),
            Attempt(3, "7", 3, 11.4, 11.7, 207),
            Attempt(4, "7", 4, 11.9, 12.1, 429),
            Attempt(5, "7", 5, 19.9, 20.2, 207),
        ],
        stops=[Stop("a pause", "7", None, 15.0, 19.0)],
        samples=[Sample("dst", 10.0, {**NOTHING, "accepted": 4, "queued": 4})],
        final_counts={**NOTHING, "accepted": 4, "delivered": 4},
        fresh={"fresh": True},
    )  # fmt: skip


def test_an_honest_record_is_acquitted() -> None:
    """Unknown outcomes, a window that was waited out and a pause that held are no offence."""
    assert judge(honest()) == []


def _with(change: Callable[[Evidence], object]) -> Evidence:
    forged = honest()
    change(forged)
    return forged


def _set(name: str, value: object) -> Callable[[Evidence], None]:
    return lambda seen: setattr(seen, name, value)


def _add(*requests: Request) -> Callable[[Evidence], None]:
    return lambda seen: seen.requests.extend(requests)


FORGED = {
    "acknowledged, then gone": ("acknowledged_is_stored", lambda s: s.acknowledged.add("lost")),
    "stored without an offer": ("nothing_is_invented", lambda s: s.stored.update(x=["delivered"])),
    "sent without being stored": ("nothing_is_invented", _add(request(6, "x", began=30.0))),
    "rejected, yet stored": ("refused_stays_out", lambda s: s.stored.update(bad=["delivered"])),
    "rejected after it was acknowledged": ("refused_stays_out", lambda s: s.refused.add("a")),
    "in two batches": ("one_state_each", lambda s: s.stored.update(a=["delivered", "queued"])),
    "in a state without a name": ("one_state_each", lambda s: s.stored.update(a=["limbo"])),
    "reported otherwise by the API": ("one_state_each", lambda s: s.listed.update(a=["queued"])),
    "missing from the API's lists": ("one_state_each", lambda s: s.listed.pop("a")),
    "called delivered, refused by the stand-in": (
        "delivered_was_accepted",
        lambda s: s.requests.insert(0, replace(s.requests.pop(0), taken=(True, False))),
    ),
    "sent again in other bytes": (
        "one_wording_each",
        _add(request(6, "c", began=30.0, hashes=("other",), clear=False)),
    ),
    "twice in one request": ("once_a_request", _add(request(6, "c", "c", began=11.2))),
    "in two requests at once": ("never_two_at_once", _add(request(6, "c", began=11.0, ended=11.6))),
    "sent again after a clear acceptance": ("acceptance_ends_it", _add(request(6, "a", began=30.0))),
    "sent inside a window": ("windows_are_obeyed", _add(request(6, "d", began=13.0, clear=False))),
    "sent during a pause": ("stops_hold", _add(request(6, "d", began=16.0, clear=False))),
    "dead for nothing": ("only_the_guilty_die", lambda s: s.stored.update(a=["dead"])),
    "expired too soon": ("only_the_guilty_die", lambda s: s.stored.update(a=["expired"])),
    "left waiting": ("everything_ends", lambda s: s.stored.update(a=["retrying"])),
    "counts that do not add up": (
        "counts_add_up",
        _set("samples", [Sample("dst", 10.0, {**NOTHING, "accepted": 4, "queued": 3})]),
    ),
    "a negative count": (
        "counts_add_up",
        _set("samples", [Sample("dst", 1.0, {**NOTHING, "accepted": 1, "queued": 2, "retrying": -1})]),
    ),
    "accepted falls": (
        "counts_add_up",
        lambda s: s.samples.append(Sample("dst", 11.0, {**NOTHING, "accepted": 3, "queued": 3})),
    ),
    "a count that is not its set": (
        "counts_are_the_sets",
        _set("final_counts", {**NOTHING, "accepted": 4, "delivered": 3, "dead": 1}),
    ),
    "the pipeline is blocked at the end": ("a_fresh_event_flows", lambda s: s.fresh.update(fresh=False)),
    "a connection is left": ("back_to_baseline", _set("leftovers", ["1 connection"])),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_record_is_found_out(forgery: str) -> None:
    """By the rule that it breaks, whatever else it breaks."""
    rule, change = FORGED[forgery]
    assert rule in {objection.rule for objection in judge(_with(change))}


def test_every_rule_has_a_forgery() -> None:
    """A rule that nothing can break would be a defect."""
    assert {rule for rule, _ in FORGED.values()} == {rule.__name__ for rule in RULES}


def test_an_unread_429_shuts_no_window() -> None:
    """A worker that was killed before it read the answer could not have known."""
    seen = _with(_add(request(6, "d", began=13.0, clear=False)))
    seen.attempts = [one for one in seen.attempts if one.number != 4]
    assert judge(seen) == []


def test_a_stand_in_that_never_answers_holds_nobody_for_ever() -> None:
    """After the sender's own deadline the next request for the id is no overlap."""
    seen = honest()
    seen.requests = [
        request(1, "a", "b", began=10.0),
        request(2, "c", began=11.0, ended=float("inf"), status=None, clear=False),
        request(3, "c", began=37.0),
        *seen.requests[3:],
    ]
    seen.attempts = [one for one in seen.attempts if one.number != 3]
    assert judge(seen) == []
