"""The states of incidents, their conditions and the messages about them, without any I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from app.domain.incidents import thresholds
from app.domain.incidents.conditions import (
    DestinationFacts,
    Finding,
    SchemaDrift,
    ServiceFacts,
    SuspectAmounts,
    SuspectRule,
    channel_finding,
    destination_findings,
    service_findings,
)
from app.domain.incidents.kinds import KINDS, Kind, Remedy, Severity, advice
from app.domain.incidents.machine import IncidentState, Transition, advance, open_incident
from app.domain.notifications import (
    Batching,
    ChannelLoad,
    MessageType,
    SentMessages,
    batching,
    digest_body,
    due_message,
    incident_body,
    incident_text,
    mail,
    read_emails,
    read_mail_server,
    read_webhooks,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEFAULTS = thresholds.read(None)
SECOND = timedelta(seconds=1)

TROUBLE: dict[Kind, dict[str, Any]] = {
    Kind.SIGN_IN_LOST: {"sign_in_reason": "revoked"},
    Kind.AMAZON_FORBIDDEN: {"sign_in_reason": "forbidden"},
    Kind.FAILING: {"requests": 10, "failed_requests": 5, "last_outcome": "broken"},
    Kind.THROTTLED: {"last_outcome": "throttled", "oldest_waiting_at": NOW - timedelta(minutes=6)},
    Kind.BACKLOG: {"oldest_waiting_at": NOW - timedelta(minutes=16)},
    Kind.EXPIRING: {"first_expiry_at": NOW + timedelta(hours=23), "expiring_since": NOW - 6 * SECOND},
    Kind.DEAD_LETTERS: {"dead_open": 1},
    Kind.REJECTIONS: {"received": 50, "rejected": 10, "received_at": NOW},
    Kind.VOLUME_DROP: {"days_of_volume": 7, "same_hours": (100,) * 7, "last_hour": 9},
    Kind.VALUE_SUSPECT: {"suspect": SuspectAmounts(1, SuspectRule.HUNDREDFOLD, "event.total", 20, 100)},
    Kind.SCHEMA_DRIFT: {"drift": SchemaDrift(1, "user.email", "user.mail", 100)},
}
JUST_BELOW: dict[Kind, dict[str, Any]] = {
    Kind.FAILING: {"requests": 9, "failed_requests": 9, "last_outcome": "broken"},
    Kind.THROTTLED: {"last_outcome": "throttled", "oldest_waiting_at": NOW - timedelta(minutes=5)},
    Kind.BACKLOG: {"oldest_waiting_at": NOW - timedelta(minutes=15)},
    Kind.EXPIRING: {"first_expiry_at": NOW + timedelta(hours=25), "expiring_since": NOW - 6 * SECOND},
    Kind.REJECTIONS: {"received": 50, "rejected": 9, "received_at": NOW},
    Kind.VOLUME_DROP: {"days_of_volume": 7, "same_hours": (100,) * 7, "last_hour": 10},
}


def kinds_of(**facts: Any) -> list[Kind]:
    return [found.kind for found in destination_findings(DestinationFacts(**facts), DEFAULTS, NOW)]


def test_every_kind_has_a_condition() -> None:
    """The table of the interface is complete."""
    of_service = {kind for kind, spec in KINDS.items() if spec.of_service}
    assert set(TROUBLE) | of_service == set(Kind)


@pytest.mark.parametrize("kind", TROUBLE)
def test_a_condition_holds_from_its_threshold_on(kind: Kind) -> None:
    """Each kind is found by its own facts, and by no other."""
    assert kinds_of(**TROUBLE[kind]) == [kind]
    assert kinds_of(**JUST_BELOW.get(kind, {})) == []
    disabled = thresholds.read({kind.value: {"enabled": False}})
    assert destination_findings(DestinationFacts(**TROUBLE[kind]), disabled, NOW) == []


def test_an_incident_names_its_own_cause_and_cure() -> None:
    """A disconnect is not Amazon's refusal, and access to the advertiser cures no 404."""

    def summary(reason: str) -> str:
        (found,) = destination_findings(DestinationFacts(sign_in_reason=reason), DEFAULTS, NOW)
        return found.summary

    assert summary("revoked") == "Amazon access was revoked or has expired. Nothing is sent."
    assert summary("disconnected") == "This destination was disconnected."
    assert "404" in summary("endpoint_not_found")
    remedy, action = advice(Kind.AMAZON_FORBIDDEN, "endpoint_not_found")
    assert remedy.startswith("Check the region and the advertiser ID.")
    assert "connect" not in remedy
    assert action is Remedy.OPEN_SETTINGS
    assert "access to the advertiser" in advice(Kind.AMAZON_FORBIDDEN, "forbidden")[0]


def test_silence_a_server_error_and_an_unreadable_response_differ() -> None:
    """Each outage has the sentence of the destination's page."""

    def failing(**facts: Any) -> tuple[str, str]:
        facts = {"oldest_waiting_at": NOW - SECOND} | facts
        (found,) = destination_findings(DestinationFacts(**facts), DEFAULTS, NOW)
        assert found.kind is Kind.FAILING
        return found.summary, advice(found.kind, found.reason)[0]

    many = {"requests": 10, "failed_requests": 10}
    texts = [
        failing(**many, last_outcome="broken", last_status=503),
        failing(**many, last_outcome="broken", last_status=200),
        failing(**many, last_outcome="lost"),
        failing(no_token_since=NOW - timedelta(seconds=45)),
    ]
    assert len({summary for summary, _ in texts}) == 4
    assert "Latest status: 503." in texts[0][0]
    assert "outbound network access" in texts[2][1]


def test_large_counts_are_written_in_full() -> None:
    """All in one notation, and none with an exponent."""
    busy: list[dict[str, Any]] = [
        {"received": 7_200_000, "rejected": 2_934_000, "received_at": NOW},
        {"requests": 12_000, "failed_requests": 11_000, "last_outcome": "broken"},
        {"days_of_volume": 7, "same_hours": (1_234_500,) * 8, "last_hour": 9_000},
        {"days_of_volume": 7, "same_hours": (10, 11, 11, 12, 13, 14, 14, 15), "last_hour": 0},
    ]
    summaries = [destination_findings(DestinationFacts(**facts), DEFAULTS, NOW)[0].summary for facts in busy]
    assert summaries[0] == "2,934,000 of 7,200,000 events were rejected on receipt."
    assert "11,000 of 12,000 requests failed." in summaries[1]
    assert summaries[2] == "9,000 events in the last hour; the median of this hour is 1,234,500."
    assert summaries[3] == "0 events in the last hour; the median of this hour is 12.5."


def test_one_hour_is_no_hours() -> None:
    facts = {"first_expiry_at": NOW + timedelta(minutes=50), "expiring_since": NOW - 6 * SECOND}
    alerting = thresholds.read({"expiring": {"hours": 1}})
    [found] = destination_findings(DestinationFacts(**facts), alerting, NOW)
    assert found.summary == "Waiting events reach Amazon's age limit within 1 hour."


def test_silence_opens_within_a_minute_although_few_requests_ended() -> None:
    """Amazon or its token server never answers. An event must wait for it."""
    for silent in ("silent_since", "no_token_since"):
        waits = {"oldest_waiting_at": NOW - timedelta(minutes=1)}
        assert kinds_of(**waits, **{silent: NOW - timedelta(seconds=45)}) == [Kind.FAILING]
        assert kinds_of(**waits, **{silent: NOW - timedelta(seconds=44)}) == []
        assert kinds_of(**{silent: NOW - timedelta(seconds=45)}) == []


def test_a_fault_that_is_over_does_not_count_although_its_window_is_full() -> None:
    """The last request decides, so that an incident resolves soon after the cure."""
    assert kinds_of(requests=20, failed_requests=19, last_outcome="answered") == []
    assert kinds_of(breaker_open_for=10 * SECOND) == [Kind.FAILING]
    assert kinds_of(received=60, rejected=60, received_at=NOW - timedelta(minutes=6)) == []


def test_the_kinds_of_the_service() -> None:
    """They have thresholds of their own."""
    minute = timedelta(minutes=1)
    assert list(service_findings(ServiceFacts())) == []
    facts = ServiceFacts(without_worker_for=minute, slow_commits_for=minute)
    assert [found.kind for found in service_findings(facts)] == [Kind.NO_WORKER, Kind.DATABASE_SLOW]


def test_channels_of_an_organisation_fail_after_a_while() -> None:
    """The finding names those that do."""
    minute = timedelta(minutes=1)
    assert channel_finding({"ops": 14 * minute}) is None
    found = channel_finding({"ops": 15 * minute, "mail": minute})
    assert found == Finding(Kind.NOTIFICATIONS_FAILING, "Channels do not accept messages: ops.")


def test_thresholds_are_merged_member_by_member() -> None:
    """Null restores a default."""
    stored = thresholds.merged({}, {"failing": {"share": 0.1, "min_requests": 3}, "backlog": {"minutes": 1}})
    stored = thresholds.merged(stored, {"failing": {"share": None, "window_seconds": 30}, "backlog": None})
    assert stored == {"failing": {"min_requests": 3, "window_seconds": 30}}
    failing = thresholds.read(stored).thresholds[Kind.FAILING]
    assert failing == replace(thresholds.DEFAULTS[Kind.FAILING], min_requests=3, window_seconds=30)


def test_a_threshold_has_the_members_of_its_row() -> None:
    """Others would be zeros, and fields of the form without a use."""
    view = DEFAULTS.view()
    assert view["sign_in_lost"] == {"enabled": True}
    assert view["backlog"] == {"enabled": True, "minutes": 15.0}
    assert view["volume_drop"] == {"enabled": True, "share": 0.1, "min_events": 10}
    assert {member for row in thresholds.DEFAULTS.values() for member in row.members} == {
        "enabled",
        *thresholds.RANGES,
    }


BACKLOG = Finding(Kind.BACKLOG, "The oldest waiting event is older than 15 minutes.", 3)
FAILING = Finding(Kind.FAILING, "5 of 10 requests to Amazon failed.", 3)


def test_an_incident_resolves_after_thirty_quiet_seconds() -> None:
    """Not before."""
    incident = open_incident(BACKLOG, "dst", NOW, silent=False)
    assert advance(incident, None, NOW + 29 * SECOND) == (incident, Transition.UNCHANGED)
    seen, transition = advance(incident, BACKLOG, NOW + 29 * SECOND)
    assert transition is Transition.UPDATED
    assert seen is not None
    assert advance(seen, None, NOW + 58 * SECOND)[1] is Transition.UNCHANGED
    assert advance(seen, None, NOW + 59 * SECOND)[1] is Transition.RESOLVED


def test_a_delivery_kind_resolves_only_after_a_request_succeeded() -> None:
    """A quiet destination proves nothing."""
    incident = open_incident(FAILING, "dst", NOW, silent=False)
    later = NOW + timedelta(hours=1)
    assert advance(incident, None, later)[1] is Transition.UNCHANGED
    assert advance(incident, None, later, success_at=NOW - SECOND)[1] is Transition.UNCHANGED
    assert advance(incident, None, later, success_at=NOW + SECOND)[1] is Transition.RESOLVED
    assert advance(incident, FAILING, later, released=True)[1] is Transition.RESOLVED


def test_the_same_condition_within_ten_minutes_reopens_the_incident() -> None:
    """An acknowledgement survives; after ten minutes a new incident opens."""
    incident = open_incident(BACKLOG, "dst", NOW, silent=False)
    resolved, _ = advance(incident, None, NOW + 30 * SECOND)
    assert resolved is not None
    again, transition = advance(resolved, BACKLOG, NOW + timedelta(minutes=10))
    assert transition is Transition.REOPENED
    assert again is not None
    assert (again.state, again.resolved_at, again.opened_at) == (IncidentState.OPEN, None, NOW)
    assert advance(resolved, BACKLOG, NOW + timedelta(minutes=11)) == (None, Transition.OPENED)


def flicker(*, minutes: int, on: int, off: int) -> list[MessageType]:
    """Return the messages about a fault that comes and goes for some minutes and is then cured."""
    incident, sent, messages = None, SentMessages(), []
    for second in range(0, minutes * 60 + 120, 3):
        now = NOW + second * SECOND
        finding = BACKLOG if second < minutes * 60 and second % (on + off) < on else None
        if incident is not None:
            incident, _ = advance(incident, finding, now)
        if incident is None and finding is not None:
            incident = open_incident(finding, "dst", now, silent=False)
        if incident is None or (message := due_message(incident, sent, now, muted=False)) is None:
            continue
        messages.append(message)
        if message is MessageType.OPENED:
            sent = SentMessages(now, sent.resolved_at, sent.reminded_at, incident.severity)
        elif message is MessageType.RESOLVED:
            sent = SentMessages(sent.opened_at, now, sent.reminded_at, sent.severity)
    return messages


@pytest.mark.parametrize(("on", "off"), [(3, 3), (3, 27), (6, 36), (20, 40), (60, 60), (120, 45)])
def test_a_fault_that_flickers_for_ten_minutes_causes_two_messages(on: int, off: int) -> None:
    """The first opening and one resolution, whatever its rhythm."""
    assert flicker(minutes=10, on=on, off=off) == [MessageType.OPENED, MessageType.RESOLVED]


def test_a_message_is_due_once() -> None:
    """A restart finds that it was sent."""
    incident = open_incident(BACKLOG, "dst", NOW, silent=False)
    assert due_message(incident, SentMessages(), NOW, muted=False) is MessageType.OPENED
    assert due_message(incident, SentMessages(), NOW, muted=True) is None
    sent = SentMessages(NOW, severity=Severity.WARNING)
    assert due_message(incident, sent, NOW + timedelta(hours=23), muted=False) is None
    assert due_message(incident, sent, NOW + timedelta(hours=24), muted=False) is MessageType.REMINDER
    lower = SentMessages(NOW, severity=Severity.INFO)
    assert due_message(incident, lower, NOW + SECOND, muted=False) is MessageType.OPENED


def test_above_ten_messages_a_minute_one_digest_is_sent() -> None:
    """And the next one waits until the minute is over."""
    assert batching(range(10), ChannelLoad(), urgent=False) is Batching.SINGLE
    assert batching(range(300), ChannelLoad(), urgent=False) is Batching.DIGEST
    assert batching(range(1), ChannelLoad(10), urgent=False) is Batching.DIGEST
    assert batching(range(1), ChannelLoad(10, 1), urgent=False) is Batching.WAIT
    # A critical incident does not wait for a minute.
    assert batching(range(1), ChannelLoad(10, 1), urgent=True) is Batching.DIGEST
    assert batching(range(1), ChannelLoad(10, 4), urgent=True) is Batching.WAIT


def test_a_digest_hides_no_kind() -> None:
    """Twelve hundred of one cause, and one of another: the most severe first, each with an example."""

    def item(name: str, kind: str, severity: str, remedy: str) -> tuple[MessageType, dict[str, Any]]:
        incident = {
            "destination_name": name,
            "kind": kind,
            "severity": severity,
            "summary": "S.",
            "remedy": remedy,
        }
        return MessageType.OPENED, incident

    rejected = item("<Big>", "rejections", "warning", "Fix the time.")
    unknown = item("Typo", "amazon_forbidden", "critical", "Check the region.")
    items = [rejected, *[item(f"D{n}", "amazon_forbidden", "critical", "Give access.") for n in range(1_200)]]
    content = msgspec.json.decode(digest_body([*items, unknown], NOW, url="https://ours.test"))
    first, *groups, left, link = content["text"].split("\n")
    assert first == "1,202 incidents changed: 1,202 opened, 0 resolved."
    assert groups == [
        "[critical] amazon_forbidden opened: 1,200 incidents, such as D0. S. Give access.",
        "[critical] amazon_forbidden opened: Typo. S. Check the region.",
        "[warning] rejections opened: &lt;Big&gt;. S. Fix the time.",
    ]
    assert (left, link) == ("1,152 incidents are not listed.", "https://ours.test")
    data = content["data"]
    assert (data["count"], len(data["items"]), data["not_listed"]) == (1_202, 50, 1_152)
    assert {each["destination_name"] for each in data["items"]} >= {"D0", "Typo", "<Big>"}
    letter = mail(msgspec.json.encode(content), message_id="m", sender="a@b.test", recipients=["c"], now=NOW)
    assert letter["Subject"] == "[critical] 1,202 incidents changed: amazon_forbidden, rejections"
    assert letter.get_content().count("1,152 incidents are not listed.") == 2
    assert "Typo" in letter.get_content()


def test_the_mail_about_an_incident_groups_the_digits_of_its_events() -> None:
    incident = {
        "destination_name": "Acme",
        "kind": "dead_letters",
        "severity": "warning",
        "summary": "S.",
        "remedy": "R.",
        "opened_at": "2026-11-24T12:00:00Z",
        "resolved_at": None,
        "consequences": [],
        "affected_events": 12_345,
        "expires_at": None,
        "url": "https://ours.test",
    }
    body = incident_body(MessageType.OPENED, incident, NOW)
    letter = mail(body, message_id="m", sender="a@b.test", recipients=["c"], now=NOW)
    assert "Affected events: 12,345\n" in letter.get_content()


def test_the_counts_of_a_mappings_problem_have_thousands_separators() -> None:
    amounts = SuspectAmounts(7, SuspectRule.ZERO, None, 1_000, 1_000)
    assert amounts.sentence == "1,000 of the last 1,000 purchases have the amount 0. Field: value."
    missing = SchemaDrift(7, "user.email", None, 1_000)
    assert missing.sentence.startswith("The last 1,000 events do not have user.email,")
    changed = SchemaDrift(7, "order.total", None, 1_000, is_text=True)
    assert changed.sentence.startswith("The last 1,000 events have order.total as a text,")


SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


def test_channels_are_read_and_their_addresses_hidden() -> None:
    """An entry is split at its first `=`; a name may be bound to an organisation."""
    webhooks = read_webhooks("ops=https://x.test/?a=1%2C2,team@acme=https://y.test", f"ops={SECRET}")
    assert [(each.organisation, each.name) for each in webhooks] == [("default", "ops"), ("acme", "team")]
    assert webhooks[0].addresses == ("https://x.test/?a=1%2C2",)
    assert webhooks[0].secrets
    assert "x.test" not in repr(webhooks)
    assert read_emails("ops=a@example.com|b@example.com")[0].addresses == ("a@example.com", "b@example.com")
    server = read_mail_server("smtp://u:p%40ss@mail.test:2525")
    assert (server.port, server.password) == (2525, "p@ss")
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_webhooks, "secret-address"),
        (read_webhooks, "ops=ftp://secret-address"),
        (read_webhooks, "ops=https://a.test,ops=https://secret-address"),
        (read_emails, "ops=secret-address"),
        (read_mail_server, "http://secret-address"),
    ],
)
def test_an_error_of_a_channel_has_no_address(read: Any, text: str) -> None:
    """An address is a credential."""
    with pytest.raises(ValueError) as error:
        read(text)
    assert "secret" not in str(error.value)


def test_a_name_is_no_markup_in_a_message() -> None:
    """Slack and Mattermost read markup in names."""
    text = incident_text(
        "incident.opened",
        {
            "destination_name": "<!channel> @all [x](https://evil.test)",
            "severity": "warning",
            "kind": "backlog",
            "summary": "s.",
            "remedy": "r.",
            "consequences": [],
            "url": "https://ours.test",
        },
    )
    for markup in ("<!", "@all", "[x]", "https://evil"):
        assert markup not in text
