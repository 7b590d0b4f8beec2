"""One cause, one incident: a table of states and conditions, and laws over any sequence of facts."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.ids import DestinationNumber
from app.domain.incidents import thresholds
from app.domain.incidents.conditions import DestinationFacts, ServiceFacts
from app.domain.incidents.kinds import ACCESS, CHAIN, KINDS, Kind, Severity
from app.domain.incidents.machine import Transition
from app.domain.notifications import MessageType, Preference, SentMessages, due_message
from app.incidents.monitor import decide
from app.incidents.observation import Observation, ObservedDestination
from app.store.incidents import StoredIncident
from tests.domain.test_incidents import NOW, SECOND, TROUBLE

WAITING = {"waiting_events": 3, "oldest_waiting_at": NOW - timedelta(minutes=1)}
STATES: dict[str, dict[str, Any]] = {
    "active": {},
    "paused": {"is_paused": True},
    "sign-in lost": {"sign_in_reason": "revoked"},
    "access denied": {"sign_in_reason": "forbidden"},
    "account unknown": {"sign_in_reason": "endpoint_not_found"},
}
OWN: dict[str, Kind] = {
    "sign-in lost": Kind.SIGN_IN_LOST,
    "access denied": Kind.AMAZON_FORBIDDEN,
    "account unknown": Kind.AMAZON_FORBIDDEN,
}
DELIVERY = [Kind.FAILING, Kind.THROTTLED, Kind.BACKLOG, Kind.EXPIRING]


class Monitor:
    """The monitor without a database: it decides on facts and keeps the incidents."""

    def __init__(self) -> None:
        self.stored: list[StoredIncident] = []
        self.now = NOW
        self.transitions: list[Transition] = []

    def observe(self, facts: DestinationFacts, *, service: ServiceFacts | None = None) -> None:
        facts = replace(facts, success_at=self.now)
        destination = ObservedDestination(
            "dst", DestinationNumber(1), "acme", facts, thresholds.read(None), Preference()
        )
        observation = Observation(self.now, [destination], service or ServiceFacts(), {})
        for change in decide(observation, self.stored):
            self.transitions.append(change.transition)
            old = {each.id: each for each in self.stored}
            if change.id in old:
                self.stored = [
                    replace(each, incident=change.incident) if each.id == change.id else each
                    for each in self.stored
                ]
            else:
                number = len(self.stored) + 1
                self.stored.append(
                    StoredIncident(
                        change.id, number, change.organisation, change.incident, None, None, None, None
                    )
                )

    def is_open(self, organisation: str = "acme") -> dict[Kind, StoredIncident]:
        found = [each for each in self.stored if each.incident.is_open and each.organisation == organisation]
        assert len({each.incident.kind for each in found}) == len(found)
        return {each.incident.kind: each for each in found}


def _facts(*conditions: Kind) -> dict[str, Any]:
    """Return the facts of conditions that hold together. Two of them are about the oldest waiting event."""
    facts: dict[str, Any] = dict(WAITING)
    for kind in conditions:
        facts |= TROUBLE[kind]
    if Kind.BACKLOG in conditions:
        facts["oldest_waiting_at"] = TROUBLE[Kind.BACKLOG]["oldest_waiting_at"]
    return facts


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("conditions", [(), *combinations(DELIVERY, 1), *combinations(DELIVERY, 2), DELIVERY])
def test_a_state_and_its_conditions_are_one_incident(state: str, conditions: tuple[Kind, ...]) -> None:
    """The cause has the incident; what follows from it is a line of it and raises its severity."""
    facts = _facts(*reversed(conditions))
    if Kind.FAILING in conditions:
        facts["blocked"] = Kind.THROTTLED in conditions
    holding = [kind for kind in DELIVERY if kind in conditions]
    if state == "paused":
        holding = [kind for kind in holding if kind not in (Kind.BACKLOG, Kind.THROTTLED)]
    monitor = Monitor()
    monitor.observe(DestinationFacts(**facts | STATES[state]))
    found = monitor.is_open()
    causes = [OWN[state], *holding] if state in OWN else holding
    assert list(found) == causes[:1]
    if causes:
        incident = found[causes[0]].incident
        assert incident.consequences == tuple(sorted(causes[1:]))
        assert incident.severity is max(
            (KINDS[kind].severity for kind in causes), key=lambda severity: severity.rank
        )


@pytest.mark.parametrize(("cause", "consequence"), list(pairwise([Kind.SIGN_IN_LOST, *DELIVERY])))
def test_an_open_consequence_is_merged_into_its_cause(cause: Kind, consequence: Kind) -> None:
    """At the next run, without a message that it resolved."""
    monitor = Monitor()
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[consequence]))
    before = monitor.is_open()[consequence]
    monitor.now += 3 * SECOND
    facts = _facts(consequence, cause)
    if consequence is Kind.THROTTLED:
        facts["blocked"] = True
    monitor.observe(DestinationFacts(**facts))
    assert list(monitor.is_open()) == [cause]
    merged = next(each for each in monitor.stored if each.id == before.id).incident
    assert merged.merged_into == monitor.is_open()[cause].id
    assert merged.resolved_at == monitor.now
    assert due_message(merged, SentMessages(NOW), monitor.now, muted=False) is None
    assert monitor.is_open()[cause].incident.consequences == (consequence,)


def test_a_cause_explains_also_while_it_is_only_open() -> None:
    """Between two failures, the backlog opens no incident of its own."""
    monitor = Monitor()
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[Kind.FAILING]))
    monitor.now += 3 * SECOND
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[Kind.EXPIRING]))
    found = monitor.is_open()
    assert list(found) == [Kind.FAILING]
    assert found[Kind.FAILING].incident.consequences == (Kind.EXPIRING,)


def test_a_severity_that_rises_is_sent_at_once() -> None:
    """A backlog that nears the age limit is critical, within the ten minutes between messages."""
    monitor = Monitor()
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[Kind.BACKLOG]))
    sent = SentMessages(NOW, severity=Severity.WARNING)
    monitor.now += 3 * SECOND
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[Kind.BACKLOG] | TROUBLE[Kind.EXPIRING]))
    incident = monitor.is_open()[Kind.BACKLOG].incident
    assert incident.severity is Severity.CRITICAL
    assert due_message(incident, sent, monitor.now, muted=False) is MessageType.OPENED
    monitor.now += 3 * SECOND
    monitor.observe(DestinationFacts(**WAITING | TROUBLE[Kind.BACKLOG]))
    after = monitor.is_open()[Kind.BACKLOG].incident
    assert (after.severity, after.consequences) == (Severity.CRITICAL, ()), "it does not fall"
    only_expiring = Preference(kinds=frozenset({Kind.EXPIRING}), min_severity=Severity.CRITICAL)
    assert only_expiring.includes(incident, "ops")


def test_a_pause_ends_a_backlog() -> None:
    monitor = Monitor()
    facts = DestinationFacts(**WAITING | TROUBLE[Kind.BACKLOG])
    monitor.observe(facts)
    monitor.now += 3 * SECOND
    monitor.observe(replace(facts, is_paused=True))
    assert monitor.is_open() == {}
    assert monitor.stored[0].incident.summary == "The destination is paused. Its events wait."


def test_rejections_last_through_a_pause_and_end_by_good_events() -> None:
    """Bursts of bad events once a minute are one incident; an hour without events ends it."""
    monitor = Monitor()
    bad = DestinationFacts(received=60, rejected=60, received_at=NOW)
    monitor.observe(bad)
    for _ in range(19):
        monitor.now += timedelta(minutes=3)
        monitor.observe(bad)
        assert list(monitor.is_open()) == [Kind.REJECTIONS]
    assert set(monitor.transitions) == {Transition.OPENED, Transition.UPDATED}
    monitor.now += timedelta(minutes=3)
    monitor.observe(bad)
    monitor.now += 31 * SECOND
    monitor.observe(bad)
    assert monitor.is_open() == {}
    monitor = Monitor()
    monitor.observe(bad)
    for _ in range(2):
        monitor.now += 31 * SECOND
        monitor.observe(replace(bad, received=400, received_at=monitor.now))
    assert monitor.is_open() == {}


@pytest.mark.parametrize("kind", [*ACCESS, *DELIVERY])
def test_each_kind_that_holds_events_names_their_expiry(kind: Kind) -> None:
    expiry = NOW + timedelta(hours=23)
    facts = WAITING | {"earliest_expiry_at": expiry} | TROUBLE[kind]
    monitor = Monitor()
    monitor.observe(DestinationFacts(**facts))
    incident = monitor.is_open()[kind].incident
    assert incident.expires_at == expiry
    assert incident.oldest_event_at == facts["oldest_waiting_at"]


def test_an_organisation_reads_of_a_problem_of_the_service_in_general_words() -> None:
    """Only if it affects its events. Its own problems are not silent."""
    service = ServiceFacts(without_worker_for=timedelta(minutes=2), waiting_events=9)
    monitor = Monitor()
    monitor.observe(DestinationFacts(), service=service)
    assert monitor.is_open() == {}
    assert list(monitor.is_open("default")) == [Kind.NO_WORKER]
    monitor.observe(
        DestinationFacts(**WAITING | TROUBLE[Kind.REJECTIONS] | TROUBLE[Kind.BACKLOG]), service=service
    )
    found = {kind: each.incident for kind, each in monitor.is_open().items()}
    assert {kind: incident.is_silent for kind, incident in found.items()} == {
        Kind.NO_WORKER: False,
        Kind.BACKLOG: True,
        Kind.REJECTIONS: False,
    }
    assert "worker" not in found[Kind.NO_WORKER].summary
    assert found[Kind.NO_WORKER].affected_events == 3
    monitor.now += 31 * SECOND
    monitor.observe(DestinationFacts(), service=service)
    assert Kind.NO_WORKER in monitor.is_open(), "it ends with the problem, not with the queue"


def flags(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(names, st.booleans()))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "revoked", "forbidden", "endpoint_not_found"]),
            flags("paused", "failing", "throttled", "backlog", "expiring", "rejecting", "no_worker"),
            st.sampled_from([3, 20, 40, 700]),
        ),
        max_size=12,
    )
)
@settings(max_examples=200)
def test_the_laws_of_causes(steps: list[tuple[str | None, dict[str, bool], int]]) -> None:
    """Whatever happens in whatever order."""
    monitor = Monitor()
    for reason, now, seconds in steps:
        monitor.now += seconds * SECOND
        facts: dict[str, Any] = {**WAITING, "sign_in_reason": reason, "is_paused": now["paused"]}
        shift = monitor.now - NOW
        for kind in (Kind.EXPIRING, Kind.BACKLOG, Kind.THROTTLED, Kind.FAILING):
            if now[kind.value]:
                facts |= TROUBLE[kind]
        facts["blocked"] = now["throttled"]
        if now["rejecting"]:
            facts |= TROUBLE[Kind.REJECTIONS]
        facts = {name: value + shift if hasattr(value, "year") else value for name, value in facts.items()}
        before = {kind: each.id for kind, each in monitor.is_open().items()}
        severities = {each.id: each.incident.severity for each in monitor.stored}
        lasting = timedelta(minutes=2 if now["no_worker"] else 0)
        service = ServiceFacts(without_worker_for=lasting)
        monitor.transitions.clear()
        monitor.observe(DestinationFacts(**facts), service=service)
        if Transition.RESOLVED in monitor.transitions:
            # What an incident explained until it resolved opens at the next run.
            monitor.observe(DestinationFacts(**facts), service=service)
        found = monitor.is_open()
        chain = [kind for kind in found if kind in CHAIN]
        # At most one incident of the chain is open, and each condition is in it or before it.
        assert len(chain) <= 1
        if reason is not None:
            assert chain == [Kind.SIGN_IN_LOST if reason == "revoked" else Kind.AMAZON_FORBIDDEN]
        if now["expiring"] or (now["backlog"] and not now["paused"]):
            assert chain
        for kind in chain:
            incident = found[kind].incident
            assert all(CHAIN.index(each) > CHAIN.index(kind) for each in incident.consequences)
            assert list(incident.consequences) == sorted(incident.consequences)
            assert Kind.BACKLOG not in (kind, *incident.consequences) or not now["paused"]
        for each in monitor.stored:
            # A merged incident names an incident that is open at that time, and a severity never falls.
            if each.incident.merged_into is not None and each.incident.resolved_at == monitor.now:
                assert each.incident.merged_into in {other.id for other in found.values()}
            if each.id in before.values() and each.incident.is_open:
                assert each.incident.severity.rank >= severities[each.id].rank
        for each in found.values():
            if each.incident.is_silent:
                assert KINDS[each.incident.kind].is_delay
