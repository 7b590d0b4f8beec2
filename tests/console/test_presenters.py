"""Presenters as tables: what is answered in, what is printed out."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.admin.destinations.preflight import run_preflight
from app.admin.destinations.stats import Breaker, DestinationStats, DiagnosisFacts
from app.admin.events.summary import EventAttempt, EventHistory
from app.admin.mappings.schema import draft_warnings
from app.console.audit import SENTENCES, sentence
from app.console.destinations import page
from app.console.destinations.diagnosis_view import DiagnosisInput, Gauge, diagnose, lane
from app.console.events.history import HistoryEntry, collapse, match_keys, timeline
from app.console.home import condensed, line
from app.console.mappings.view import Change, changes, paths, warning_lines
from app.console.pages import TEMPLATES, part
from app.console.wording import age, amazon_message, change, number, share
from app.domain.destination import DEFAULT_RATE, Region, State
from app.domain.match_quality.match_keys import MatchKeyCoverage
from app.domain.observed.event_schema import EventSchema, SchemaEntry
from app.domain.observed.schema_sample import ValueKind
from app.domain.outcomes.event_history import EventReplay
from app.domain.outcomes.status import CountTotals, tally
from app.store.audit import AuditAction
from app.store.destinations.destinations import Destination
from app.store.destinations.figures import ConnectionInfo, FailureRun, Rates, RequestRow
from app.store.destinations.outcome_history import OutcomeBucket
from tests.api.test_oauth import known

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ZERO = tally(CountTotals(), State.ACTIVE)
STATS = DestinationStats(
    destination_id="dst_1", state=State.ACTIVE, counts=ZERO, waiting=0, dead_open=0,
    oldest_waiting_seconds=None, earliest_expiry_at=None, rate_limit=DEFAULT_RATE, learned_rate=None,
    rates=Rates(0.0, 0.0, 0.0, 0.0), match_key_coverage=MatchKeyCoverage(0, [], []), unreadable_batches=0,
    breaker=Breaker("closed", 0.0), lane_owned=True, shared_account=False, rejections=[], dead_letters=[],
)  # fmt: skip
DESTINATION = known().destination


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 9, "0 %"),
        (1, 9, "11 %"),
        (1, 100, "1 %"),
        (3, 200, "1.5 %"),
        (1, 10_000, "< 0.1 %"),
        (9_999, 10_000, "> 99.9 %"),
        (5, 5, "100 %"),
    ],
)
def test_a_share_never_rounds_something_to_nothing(part: int, whole: int, text: str) -> None:
    """Nor almost all to all."""
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (11_400, "3 h 10 min"),
        (86_400, "1 day"),
        (180_000, "2 days 2 h"),
        (3_605, "1 h"),
        (-4, "0 s"),
    ],
)
def test_an_age_has_at_most_two_units(seconds: float | None, text: str) -> None:
    """The largest unit, and the next unless it is zero."""
    assert age(seconds) == text


def test_numbers_are_grouped() -> None:
    """And a rate keeps a decimal."""
    assert (number(1234567), number(4.5), number(5.0)) == ("1,234,567", "4.5", "5")


def test_totals_count_the_range_and_the_composition_what_is_the_case_now() -> None:
    """What happened in a range is not what the events are now: they may have been replayed since."""
    hour_ago = OutcomeBucket(1, NOW - timedelta(hours=1), accepted=3, delivered=2, rejected=4)
    totals = page.totals([hour_ago, replace(hour_ago, at=NOW, rejected=0)])
    happened = {"received": 10, "accepted": 6, "rejected": 4, "delivered": 4}
    assert totals == {**happened, "duplicates": 0, "dead": 0, "expired": 0}
    counts = replace(ZERO, accepted=12, delivered=9, dead=1, queued=2)
    assert page.composition(counts) == "12 accepted = 2 queued + 9 delivered + 1 failed"
    assert page.composition(ZERO) == "0 accepted"


def test_a_line_of_zeros_lies_at_the_bottom() -> None:
    """Without a division by zero, also for a single value."""
    assert {point.split(",")[1] for point in line([0, 0, 0]).split()} == {"22"}
    assert line([5]) == "0,2"


def test_a_condensed_line_keeps_its_sum() -> None:
    """At most 24 points, whatever the range."""
    values = list(range(97))
    assert len(condensed(values)) <= 24
    assert sum(condensed(values)) == sum(values)
    assert condensed([1, 2]) == [1, 2]


ABOUT = ConnectionInfo(NOW, "bootstrap", None, NOW + timedelta(hours=1), None, 0)


def run_of(requests: list[RequestRow]) -> FailureRun | None:
    """Return the run of failures that these requests, newest first, end with."""
    answered = next((n for n, one in enumerate(requests) if one.outcome == "answered"), len(requests))
    return FailureRun(requests[answered - 1].started_at, answered) if answered else None


def request(outcome: str, status: int | None = None, ago: int = 0) -> RequestRow:
    return RequestRow(NOW - timedelta(seconds=ago), outcome, status, None, 10, 20)


def given(
    requests: Sequence[RequestRow] = (),
    *,
    destination: Destination = DESTINATION,
    stats: DestinationStats = STATS,
    **facts: Any,
) -> DiagnosisInput:
    """Return the input of the rules. The requests are newest first."""
    usual: dict[str, Any] = {
        "about": ABOUT,
        "requests": requests,
        "failures": run_of(list(requests)),
        "open_dead_letters": (),
        "recent_rejections": (),
    }
    return DiagnosisInput(destination, stats, DiagnosisFacts(**{**usual, **facts}), NOW)


WAITING: dict[str, Any] = {
    "waiting": 5,
    "counts": replace(ZERO, accepted=5, queued=5),
    "oldest_waiting_seconds": 3.0,
}
DEAD: dict[str, Any] = {"open_dead_letters": [("amazon_refused", 3)]}
REJECTED: dict[str, Any] = {
    "recent_rejections": [("BAD_REQUEST", "timestamp_missing", 9)],
    "received_in_hour": 18,
    "rejected_in_hour": 9,
}
EXPIRED: dict[str, Any] = {"expired_in_day": 1}


def signed_out(reason: str) -> dict[str, Any]:
    return {"state": "needs_reconnect", "sign_in_reason": reason}


ONE = {**WAITING, "waiting": 1}
EXPIRING = {**WAITING, "earliest_expiry_at": NOW + timedelta(days=3, hours=2)}
NO_WORKER = {**WAITING, "lane_owned": False, "oldest_waiting_seconds": 60.0}
WELL = {"counts": replace(ZERO, accepted=3, delivered=3)}
UNMAPPED = {"state": "connected", "published_mappings": 0}
FAILING = [request("broken", 503), request("broken", 503, 9)]
OUTAGE = "server errors. Latest status: 503. The last 2 requests failed."
UNREADABLE = "unreadable responses. The last request failed."
# What is known of a destination, its lane and its requests; the diagnosis: headline, remedy and button.
DIAGNOSES: dict[str, tuple[dict[str, Any], dict[str, Any], list[RequestRow], str, str, str | None]] = {
    "draft": ({"state": "draft", "sign_in": "none"}, {}, [], "Not connected", "click Allow", "connect"),
    "revoked": (signed_out("revoked"), WAITING, [], "revoked", "for the sign-in (none lost)", "connect"),
    "forbidden": (signed_out("forbidden"), {}, [], "(403)", "Give that user access", "connect"),
    "unauthorized": (signed_out("unauthorized"), {}, [], "(401)", "get new tokens", "connect"),
    "paused": ({"state": "paused"}, WAITING, [], "paused", "continue. 5 events are on hold", "resume"),
    "one on hold": ({"state": "paused"}, ONE, [], "paused", "continue. 1 event is on hold", "resume"),
    "expiring": (signed_out("revoked"), EXPIRING, [], "revoked", "expires in 3 days 2 h.", "connect"),
    "one on the way": ({}, ONE, [], "1 event is being delivered", "No action needed", None),
    "no mapping": (UNMAPPED, {}, [], "no mapping is published", "Publish", "mapping"),
    "no worker": ({}, NO_WORKER, [], "No delivery worker is running", "Start a worker", None),
    "429": ({}, WAITING, [request("throttled", 429)], "(HTTP 429)", "No action needed", None),
    "5xx": ({}, WAITING, FAILING, OUTAGE, "No action needed", "retry"),
    "unreadable": ({}, WAITING, [request("broken", 207)], UNREADABLE, "No action needed", "retry"),
    "no answer": ({}, WAITING, [request("lost")], "time out", "outbound network access", "retry"),
    "404": ({}, WAITING, [request("missing", 404)], "404", "region and the advertiser ID", "retry"),
    "nothing yet": ({}, {}, [], "No events received yet", "journey", "activate"),
    "well": ({}, WELL, [request("answered", 207)], "Healthy.", "No action needed", None),
}


@pytest.mark.parametrize("name", DIAGNOSES)
def test_the_diagnosis_names_cause_and_remedy(name: str) -> None:
    """One sentence each, and the button that belongs to it."""
    destination, stats, requests, headline, remedy, action = DIAGNOSES[name]
    known = {"destination": replace(DESTINATION, **destination), "stats": replace(STATS, **stats)}
    found = diagnose(given(requests, **known))
    assert headline in found.headline
    assert remedy in found.remedy
    assert found.action == action


@pytest.mark.parametrize(
    ("facts", "headline", "remedy", "action"),
    [
        (DEAD, "3 events failed permanently", "otherwise dismiss them.", "dead"),
        (REJECTED, "50 % of the events of the last hour", "Event Timestamp", "rejected"),
        (EXPIRED, "1 event expired before delivery", "Send events sooner", "expired"),
    ],
)
def test_what_is_over_is_no_diagnosis(facts: dict[str, Any], headline: str, remedy: str, action: str) -> None:
    """The counts since the creation stay; only what is open or recent is red."""
    counts = replace(ZERO, accepted=20, delivered=10, dead=5, expired=5, rejected=20)
    stats, requests = replace(STATS, counts=counts), [request("answered", 207)]
    assert diagnose(given(requests, stats=stats)).tone == "good"
    found = diagnose(given(requests, stats=stats, **facts))
    assert headline in found.headline
    assert remedy in found.remedy
    assert found.action == action


def test_a_run_of_failures_began_with_its_first() -> None:
    """Also where the newest twenty requests do not reach back to it."""
    newest = [request("broken", 503, ago) for ago in range(20)]
    run = FailureRun(NOW - timedelta(hours=2), 1_234)
    diagnosis = diagnose(given(newest, stats=replace(STATS, **WAITING), failures=run))
    assert diagnosis.since == NOW - timedelta(hours=2)
    assert "The last 1,234 requests failed." in diagnosis.headline


@pytest.mark.parametrize(
    ("state", "reason", "since"),
    [("paused", None, timedelta(hours=3)), ("needs_reconnect", "revoked", timedelta(hours=5))],
)
def test_a_hold_began_with_the_pause_or_the_lost_sign_in(
    state: str, reason: str | None, since: timedelta
) -> None:
    """Not with the last change of a setting."""
    about = replace(ABOUT, paused_since=NOW - timedelta(hours=3), broken_since=NOW - timedelta(hours=5))
    destination = replace(DESTINATION, state=State(state), sign_in_reason=reason)
    diagnosis = diagnose(given(destination=destination, stats=replace(STATS, **WAITING), about=about))
    assert diagnosis.since == NOW - since


def test_a_currency_that_is_not_the_accounts_is_named_before_all_is_well() -> None:
    """With the button that changes it, unless no event can have it; unknown is no difference."""
    healthy = replace(STATS, counts=replace(ZERO, accepted=1, delivered=1))
    for reported, action in (("CAD", "currency"), ("XXX", None), ("USD", None), (None, None)):
        about = replace(ABOUT, account_currency=reported)
        diagnosis = diagnose(given(stats=healthy, about=about))
        assert diagnosis.action == action
        assert (str(reported) in diagnosis.headline) == (reported in ("CAD", "XXX"))


def test_429s_of_three_minutes_ago_do_not_explain_what_happens_now() -> None:
    """Amazon answered since then."""
    old = [request("answered", 207, 170), *(request("throttled", 429, 180 + n) for n in range(19))]
    diagnosis = diagnose(given(old, stats=replace(STATS, **WAITING), failures=None))
    assert "rate-limiting" not in diagnosis.headline


def gauges_of(state: str = "active", **more: Any) -> dict[str, Gauge]:
    about, requests = more.pop("about", ABOUT), more.pop("requests", [])
    stats = replace(STATS, **{**WAITING, **more})
    reason = "revoked" if state == "needs_reconnect" else more.get("reason")
    destination = replace(DESTINATION, state=State(state), sign_in_reason=reason)
    facts = given(requests, destination=destination, stats=stats, about=about)
    return {one.label: one for one in lane(facts)}


def test_the_lane_tells_what_is_out_of_the_ordinary() -> None:
    """A shut gate with its end, a rate below the limit, an expiry within two days."""
    about = replace(ABOUT, blocked_until=NOW + timedelta(seconds=30), lane_shared_with=1)
    gauges = gauges_of(about=about, learned_rate=1.5, earliest_expiry_at=NOW + timedelta(days=1))
    assert (gauges["Throttle"].value, gauges["Throttle"].at) == ("waiting until", about.blocked_until)
    assert (gauges["Rate"].value, gauges["Rate"].tone) == ("1.5 / s", "warn")
    assert "1 other destination of this advertiser" in gauges["Rate"].meaning
    assert gauges["First expiry"].tone == "bad"


@pytest.mark.parametrize("state", ["paused", "needs_reconnect", "archived"])
def test_no_gauge_is_green_while_nothing_is_sent(state: str) -> None:
    """An open gate, a closed breaker and a sending worker would contradict the diagnosis above them."""
    gauges = gauges_of(state, breaker=Breaker("closed", 0.0))
    for label in ("Throttle", "Circuit breaker", "Worker"):
        assert gauges[label].tone == "quiet"
        assert "Nothing is sent" in gauges[label].meaning
    assert (gauges["Access token"].tone == "bad") == (state == "needs_reconnect")


def test_the_breaker_agrees_with_the_requests_that_fail() -> None:
    """No "0 %" beside five failed requests."""
    gauges = gauges_of(
        requests=[request("throttled", 429, n) for n in range(5)], breaker=Breaker("closed", 0.0)
    )
    assert gauges["Throttle"].value == "slowed"
    assert gauges["Circuit breaker"].tone == "warn"
    assert "The last 5 requests failed." in gauges["Circuit breaker"].meaning
    assert "0 %" not in gauges["Circuit breaker"].meaning


@pytest.mark.parametrize(
    ("ago", "percent", "text"),
    [
        (None, 0, "This is expected"),
        (600, 8, "normal for 1 h 50 min more"),
        (9_000, 100, "Events manager should show counts"),
    ],
    ids=["nothing accepted", "ten minutes", "two and a half hours"],
)
def test_no_activity_yet_is_not_at_once_an_error(ago: int | None, percent: int, text: str) -> None:
    """R14: what the empty view means depends on the time since the first accepted event."""
    first = None if ago is None else NOW - timedelta(seconds=ago)
    sentence, found = page.events_manager_hint(first, NOW)
    assert found == percent
    assert text in sentence


@pytest.mark.parametrize(
    ("destination", "mappings", "accepted", "states"),
    [
        ({"sign_in": "none", "published_mappings": 0}, [], 0, ["done", "now", "locked", "locked"]),
        ({"sign_in": "valid", "published_mappings": 0}, [], 0, ["done", "done", "now", "locked"]),
        ({"sign_in": "valid", "published_mappings": 1}, [{}], 0, ["done", "done", "done", "now"]),
        ({"sign_in": "valid", "published_mappings": 1}, [{}], 5, ["done", "done", "done", "done"]),
    ],
)
def test_a_step_is_locked_until_the_one_before_is_done(
    destination: dict[str, Any], mappings: list[Any], accepted: int, states: list[str]
) -> None:
    """And says why."""
    page = part(
        "steps_part.html",
        destination=replace(DESTINATION, **destination),
        mappings=mappings,
        accepted=accepted,
    )
    assert re.findall(r'<li class="(\w+)"', page) == states
    assert all(why for why in re.findall(r"</strong>(.*?)</li>", page))


def test_a_difference_names_its_place_and_short_forms_are_none() -> None:
    """A bare text and the source it is short for are the same."""
    before = {"country_code": "US", "fields": {"email": "user.email"}, "custom_data": ["event.brand"]}
    after = {
        "country_code": {"const": "US"},
        "fields": {"email": {"path": "user.mail"}},
        "custom_data": [{"name": "brand", "path": "event.brand"}],
    }
    assert changes(before, after) == [Change("fields.email", "from user.email", "from user.mail")]


def test_the_paths_of_real_events_come_first_then_the_samples() -> None:
    """Names that no path takes bare are left out."""
    learned = EventSchema(2, {"user.mail": SchemaEntry("user.mail", 1, 1, {})})
    found = paths(
        {"user": {"mail": "x"}, "items": [{"sku": 1}], "odd name": 1}, learned, {"user.mail": ["email"]}
    )
    assert [(one.path, one.why) for one in found[:2]] == [
        ("user.mail", "50 % of events"),
        ("items[0].sku", "in the sample"),
    ]
    assert found[0].fits == "fields.email"
    assert "odd name" not in {one.path for one in found}


AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
# A delivered event; everything that a test does not name.
HISTORY = EventHistory(
    **dict.fromkeys(each.name for each in fields(EventHistory))  # type: ignore[arg-type]
)


def history(**known: Any) -> EventHistory:
    """Return the history of a lead that was accepted a second after it happened."""
    usual = {
        "event_time": AT,
        "accepted_at": AT + timedelta(seconds=1),
        "mapping_version": 2,
        "event_type": "LEAD",
        "match_keys": [],
        "attempts_complete": True,
        "replays": [],
        "attempts": [],
    }
    return replace(HISTORY, **{**usual, **known})


def attempt(after: int, **answer: Any) -> EventAttempt:
    """Return a request that started some seconds after the event happened."""
    started = AT + timedelta(seconds=after)
    return EventAttempt(
        id="1",
        started_at=started,
        settled_at=started,
        outcome="answered",
        http_status=207,
        duration_ms=12,
        request_id="r-1",
        message=None,
        events_in_request=3,
        **answer,
    )


def test_the_story_of_an_event_is_in_order_and_in_sentences() -> None:
    """What happened and when, Amazon's result for the event, and the person who replayed it."""
    refused = attempt(
        2, item_outcome="amazon_refused", item_code="FIELD_VALUE_IS_INVALID", item_message="Not valid."
    )
    unclear = attempt(12, item_outcome="outcome_unknown", item_code=None, item_message="missing_index")
    dead = history(
        status="dead",
        explanation="Given up.",
        match_keys=["EMAIL", "PHONE"],
        replays=[EventReplay("rpl_1", AT + timedelta(seconds=9), "key_1")],
        attempts=[refused, unclear],
    )
    entries = timeline(dead, "Cart", {"key_1": "Support desk"})
    sent = "Sent to Amazon"
    steps = ["Occurred", "Accepted and stored", "Converted", sent, "Replayed", sent, "Failed"]
    assert [one.headline for one in entries] == steps
    assert "as Lead, with Email and Phone Number" in entries[2].detail
    assert "HTTP 207, 12 ms, with 2 more." in entries[3].detail
    assert entries[3].request_id == "r-1"
    assert entries[3].detail.endswith("Amazon rejected this event (FIELD_VALUE_IS_INVALID): Not valid.")
    assert (entries[4].detail, entries[4].replay_id) == ("Requeued by Support desk.", "rpl_1")
    assert entries[5].detail.endswith("Amazon's response did not mention this event.")


def test_the_story_tells_an_erasure_apart_from_the_delivery() -> None:
    """Each with its own time; an event that is delivered and not erased ends with its delivery."""
    both = history(
        status="delivered",
        explanation="Both.",
        delivered_at=AT + timedelta(seconds=3),
        erased_at=AT + timedelta(days=1),
        attempts_complete=False,
    )
    entries = timeline(both, "Cart", {})
    assert [(one.headline, one.at and one.at.day) for one in entries[3:]] == [
        ("Older attempts", None),
        ("Delivered", 24),
        ("Erased", 25),
    ]
    (last,) = timeline(replace(both, erased_at=None, attempts_complete=True), "Cart", {})[3:]
    assert (last.headline, last.at and last.at.day) == ("Delivered", 24)


def test_similar_attempts_in_a_row_are_one_entry() -> None:
    """Three or more; another outcome, or a replay between them, ends the run."""
    failed = HistoryEntry(None, "warn", "Sent to Amazon", "HTTP 503.", kind=("broken", 503))
    other = HistoryEntry(None, "good", "Sent to Amazon", "HTTP 207.", kind=("answered", 207))
    replayed = HistoryEntry(None, "quiet", "Replayed", "By ada.", replay_id="rpl_1", kind=("rpl_1",))
    entries = collapse([failed] * 4 + [replayed, failed, failed, other])
    assert [one.headline for one in entries] == [
        "Sent to Amazon 4 times", "Replayed", "Sent to Amazon", "Sent to Amazon", "Sent to Amazon",
    ]  # fmt: skip
    assert [len(one.similar) for one in entries] == [4, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("events[199].countryCode: No", "countryCode: No"), ("events[3]: No", "No"), ("No", "No"), (None, "")],
)
def test_amazons_message_is_rendered_without_a_position(text: str | None, shown: str) -> None:
    """The position in a request differs between equal failures."""
    assert amazon_message(text) == shown


def test_match_keys_are_named_as_people_do() -> None:
    """One, several, none."""
    assert match_keys([]) == "no match key"
    assert match_keys(["EMAIL"]) == "Email"


def test_the_editor_says_what_is_mostly_a_slip() -> None:
    """In a sentence, by the member; a draft that is right has none."""
    draft = {"consent": {"mode": "none"}, "event_type": "SEARCH", "fields": {"units_sold": "u"}}
    assert warning_lines(draft_warnings(draft, Region.EU, None)) == [
        ("Units Sold", "This event type does not support the field.", ""),
        ("Consent", "Every event would be rejected.", ""),
    ]
    schema = EventSchema(1, {"user.email": SchemaEntry("user.email", 1, 1, {ValueKind.EMAIL: 1})})
    good = {"event_type": "SEARCH", "fields": {"email": "user.email"}}
    assert warning_lines(draft_warnings(good, Region.EU, schema)) == []
    unknown = {**good, "fields": {"email": "user.mail"}}
    assert warning_lines(draft_warnings(unknown, Region.EU, schema)) == [
        ("Email", "No recent event had this field.", "user.mail")
    ]


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (112, 100, "+12 %"),
        (90, 100, "−10 %"),
        (5, 5, "unchanged"),
        (3, 0, "none before"),
        (0, 4, "−100 %"),
        (50_000, 5, "10,000 times"),
    ],
)
def test_a_change_is_a_share_of_the_count_before(now: int, before: int, words: str) -> None:
    assert change(now, before) == words


def test_every_action_has_a_sentence_and_no_sentence_is_left_over() -> None:
    """The filter offers only actions that exist."""
    assert set(SENTENCES) == set(AuditAction)
    assert all(SENTENCES.values())


def test_an_unknown_action_keeps_its_word() -> None:
    """Rows outlive releases: an unknown action is shown, not dropped."""
    assert sentence("key.lent_out") == "key: lent out"


BITS: Any = TEMPLATES.get_template("check_bits.html").module


def test_every_line_has_a_label_and_no_label_is_left_over() -> None:
    """In people's words, and for each who can repair it."""
    checks = run_preflight(known())
    assert [check.name for check in checks] == list(BITS.labels)
    for check in checks:
        line = str(BITS.line(check, True))
        assert f"<strong>{BITS.labels[check.name]}</strong>" in line
        assert ("Owner: " in line) == (check.status != "ok")
