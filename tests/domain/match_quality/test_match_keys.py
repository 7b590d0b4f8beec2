"""Match quality over a seeded world with known answers: coverage, sendable share, score and what-if."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.batch import EventMetadata
from app.domain.conversion.results import Rules
from app.domain.mapping.document import check_draft
from app.domain.match_quality.match_keys import (
    FORMULA,
    MOST_COVERAGE_EVENTS,
    WEIGHTS,
    DroppedMatchKeys,
    MatchKeyCoverage,
    MatchQuality,
    added,
    match_key_coverage,
    match_quality,
)
from app.domain.match_quality.recent_events import LOSES_CHARACTERS
from app.domain.observed.schema_sample import SampleGroup, take_sample
from tests.domain import conversions

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DOCUMENT = conversions.document({"custom_data": None}, phone={"path": "user.phone"})
RULES = Rules(**conversions.RULES)


def event(**user: Any) -> dict[str, Any]:
    """Return an event with a person who also has a shop's phone number, if `mobile` is given."""
    return {"event": {"timestamp": "2026-11-24T10:00:00Z"}, "user": {"country": "US", **user}}


def samples(events: Iterable[tuple[dict[str, Any], int]], **facts: Any) -> SampleGroup:
    counted = Counter({take_sample(content, now=NOW): times for content, times in events})
    return SampleGroup(counted, {}, version=1, **facts)


def quality(*groups: SampleGroup, **changes: Any) -> MatchQuality:
    document = {**DOCUMENT, **changes}
    mapping = conversions.compiled(document)
    return match_quality(groups, document, mapping, RULES, now=NOW)


HASH = hashlib.sha256(b"+12025550173").hexdigest()
MAIL, PHONE = "ada@example.com", "+1 202 555 0173"
# 100 events: 40 with an address, of which 10 also have a phone number that came hashed; 20 with a phone
# number in clear; 40 rejected without a match key, of which 30 have a number under `mobile` and 5 a mail
# under `contact`.
WORLD = (
    samples([(event(email=MAIL), 30)], accepted=True, match_keys=("EMAIL",)),
    samples([(event(email=MAIL, phone=HASH), 10)], accepted=True, match_keys=("EMAIL", "PHONE")),
    samples([(event(phone=PHONE, mobile=PHONE), 20)], accepted=True, match_keys=("PHONE",)),
    samples(
        [
            (event(mobile=PHONE), 30),
            ({**event(), "contact": {"email_address": MAIL}}, 5),
            (event(), 5),
        ],
        accepted=False,
    ),
)


def test_coverage_and_sendable_share_are_exact() -> None:
    """Hashed here and came hashed are apart."""
    found = quality(*WORLD)
    assert found.events == 100
    assert {key: (each.hashed_here, each.came_hashed) for key, each in found.coverage.items()} == {
        "EMAIL": (40, 0),
        "PHONE": (20, 10),
    }
    assert found.sendable_share == 0.6


def test_the_score_is_that_of_the_printed_formula() -> None:
    """30 × 0.5 + 10 × (0.5 + half of 0.4) + 20 × 0.4, of 100 events, times ten."""
    assert (WEIGHTS["EMAIL"], WEIGHTS["PHONE"]) == (0.5, 0.4)
    assert "EMAIL 0.5, PHONE 0.4" in FORMULA
    assert "no match rate" in FORMULA
    assert quality(*WORLD).score == 3.0
    assert quality(*WORLD, prehashed="amazon").score == 3.2


def test_what_if_names_each_path_with_its_gain() -> None:
    """30 of 100 gain PHONE and become sendable; the mapped path is no gain; an address elsewhere is found."""
    rows = {(row.field, row.path): row for row in quality(*WORLD).what_if}
    phone = rows["phone", "user.mobile"]
    assert (phone.events_gained, phone.share_gained, phone.sendable_gained) == (30, 0.3, 30)
    mail = rows["email", "contact.email_address"]
    assert (mail.events_gained, mail.share_gained, mail.sendable_gained) == (5, 0.05, 5)
    assert set(rows) == {("phone", "user.mobile"), ("email", "contact.email_address")}


@pytest.mark.parametrize(
    "phone",
    [
        {"country_code": "+1", "number": "2025550173"},
        {"country": "US", "national_number": "2025550173"},
        {"phone1": "202", "phone2": "555", "phone3": "0173"},
    ],
)
def test_a_phone_number_in_parts_is_a_template_too(phone: dict[str, str]) -> None:
    """Its row names the template, which is no path. Whether it is usable depends on the invented parts."""
    found = quality(samples([(event(work_phone=phone), 20)], accepted=False))
    assert found.sendable_share == 0
    for row in found.what_if:
        assert check_draft(added(DOCUMENT, row)) == []
        assert row.path in (row.source.get("path"), row.source.get("template"))


def test_a_row_is_added_behind_the_present_source_and_brings_its_gain() -> None:
    """One click; the result is a valid draft, under which the row is gone."""
    before = quality(*WORLD)
    row = next(row for row in before.what_if if row.field == "phone")
    document = added(DOCUMENT, row)
    assert document["fields"]["phone"] == {"first_of": [{"path": "user.phone"}, {"path": "user.mobile"}]}
    assert check_draft(document) == []
    unknown = [SampleGroup(group.samples, {}, version=0, accepted=group.accepted) for group in WORLD]
    after = quality(*unknown, fields=document["fields"])
    assert after.sendable_share == 0.9
    assert [row.field for row in after.what_if] == ["email"]
    assert len(added(document, row)["fields"]["phone"]["first_of"]) == 3
    assert added({"fields": {"phone": "a.b"}}, row)["fields"]["phone"]["first_of"][0] == "a.b"
    piped = {"path": "a", "pipe": ["trim"], "on_error": "reject"}
    assert added({"fields": {"phone": piped}}, row)["fields"]["phone"] == {
        "first_of": [{"path": "a", "pipe": ["trim"]}, {"path": "user.mobile"}],
        "on_error": "reject",
    }


@pytest.mark.parametrize(("prehashed", "doubtful"), [("unknown", ["PHONE"]), ("amazon", [])])
def test_a_key_that_mostly_came_hashed_is_doubtful_until_its_rule_is_declared(
    prehashed: str, doubtful: list[str]
) -> None:
    """More than half; half is not."""
    group = samples([(event(phone=HASH), 11)], accepted=True, match_keys=("PHONE",))
    clear = samples([(event(phone=PHONE), 10)], accepted=True, match_keys=("PHONE",))
    more = samples([(event(phone=PHONE), 11)], accepted=True, match_keys=("PHONE",))
    assert quality(group, clear, prehashed=prehashed).doubtful_keys == doubtful
    assert quality(group, more, prehashed=prehashed).doubtful_keys == []


def test_values_that_lose_characters_are_counted_beside() -> None:
    """The sampler counts them while it has the text."""
    counted = SampleGroup(WORLD[0].samples, {}, version=1, match_keys=("EMAIL",), changed={"EMAIL": 7})
    assert quality(counted).coverage["EMAIL"].changed == 7
    assert LOSES_CHARACTERS["email"]("ada_l@example.com")
    assert not LOSES_CHARACTERS["email"](" Ada@Example.com ")
    assert LOSES_CHARACTERS["last_name"]("Müller")
    assert not LOSES_CHARACTERS["last_name"]("O'Brien")


def test_without_events_nothing_is_claimed() -> None:
    """No division by zero either."""
    assert quality() == MatchQuality()


def _shape(*keys: str) -> EventMetadata:
    return EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, keys, ())


def test_each_key_has_its_share() -> None:
    """In the order in which they are sent; keys without any event are left out."""
    report = match_key_coverage([_shape("PHONE"), _shape("EMAIL", "PHONE"), _shape("EMAIL", "PHONE", "MAID")])
    assert report.events == 3
    assert [(one.match_key, one.events, one.share) for one in report.match_keys] == [
        ("EMAIL", 2, 0.6667),
        ("PHONE", 3, 1.0),
        ("MAID", 1, 0.3333),
    ]


def test_dropped_keys_are_counted_by_reason() -> None:
    """Coverage says why a key is missing, not only that it is."""
    dropped = [(("PHONE", "placeholder"),), (("PHONE", "placeholder"), ("EMAIL", "not_an_email")), ()]
    events = [
        EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, ("MAID",), (), dropped_keys=keys) for keys in dropped
    ]
    assert match_key_coverage(events).dropped == [
        DroppedMatchKeys("EMAIL", "not_an_email", 1),
        DroppedMatchKeys("PHONE", "placeholder", 2),
    ]


def test_no_event_has_no_share() -> None:
    """And no division by nothing."""
    assert match_key_coverage([]) == MatchKeyCoverage(0, [], [])


def test_a_thousand_are_enough() -> None:
    """A busy destination's figures stay cheap."""
    coverage = match_key_coverage(_shape("EMAIL") for _ in range(MOST_COVERAGE_EVENTS * 5))
    assert coverage.events == MOST_COVERAGE_EVENTS
