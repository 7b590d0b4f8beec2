"""Event schema samples record kinds of values, never values; drafts are backtested with them."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from hashlib import sha256
from itertools import product
from time import process_time
from typing import Any

import pytest

from app.admin.mappings.trials import summary
from app.domain.conversion.convert import Conversion, Rules
from app.domain.destination import Region
from app.domain.event import Event, EventProblem
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping
from app.domain.observed.backtest import Backtest, backtest
from app.domain.observed.differences import KEYS
from app.domain.observed.event_schema import MOST_PATHS, merge_samples, schema_mismatches
from app.domain.observed.fingerprints import Fingerprints, fingerprint
from app.domain.observed.schema_sample import (
    MAX_PATHS,
    SampleEntry,
    SampleGroup,
    SchemaSample,
    pack,
    read,
    take_sample,
)
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.observed.value_kinds import PATTERN_TIMES, ValueKind, kind_of
from tests.domain import conversions
from tests.domain.conversions import convert
from tests.domain.random_pairs import nested_value
from tests.tables import cases

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules("dst_x", "map_x", 1, Region.NA, Profile.AMAZON, "USD", None, {})
DOCUMENT = conversions.document(value="event.properties.total")
EVENT = conversions.event(
    event__properties__total=Decimal("9.90"), user__phone="+1 202 555 0173", user__country="US"
)


def mapping(**changes: Any) -> Mapping:
    return conversions.compiled({**DOCUMENT, **changes})


def fields(**changes: Any) -> dict[str, Any]:
    return {"fields": {**DOCUMENT["fields"], **changes}}


def without(name: str) -> dict[str, Any]:
    return {**EVENT, "user": {key: value for key, value in EVENT["user"].items() if key != name}}


@cases(
    ("value", "kind"),
    {
        "an e-mail address": ("ada@example.com", ValueKind.EMAIL),
        "a hash": ("5E884898DA28047151D0E56F8DC6292773603D0D6AABBDD62A11EF721D1542D8", ValueKind.HASH),
        "a hash of one digit": ("a" * 64, ValueKind.HASH),
        "a hash of zeros is a placeholder": ("0" * 64, ValueKind.UNUSABLE_TRAIT),
        "an advertising id": ("38400000-8cf0-11bd-b23e-10b96e40000d", ValueKind.UUID),
        "a time with a zone": ("2026-11-24T10:00:00Z", ValueKind.TIME),
        "a date is no time": ("2026-11-24", ValueKind.DATE),
        "a phone with country code": ("+1 (202) 555-0173", ValueKind.PHONE),
        "a phone without": ("030 901820", ValueKind.NATIONAL_PHONE),
        "digits": ("12025550173", ValueKind.DIGITS),
        "a number as text": ("12", ValueKind.NUMBER_TEXT),
        "an amount as text": ("12.50", ValueKind.DECIMAL_TEXT),
        "an amount with a decimal comma": ("1.234,50", ValueKind.COMMA_TEXT),
        "an amount with groups": ("$1,234.50", ValueKind.POINT_TEXT),
        "an amount that reads with both signs": ("1,234", ValueKind.AMOUNT_TEXT),
        "an amount that reads without one, too": ("1.234", ValueKind.POINT_OR_GROUP_TEXT),
        "a time of another year": ("2024-01-01T10:00:00Z", ValueKind.OLD_TIME),
        "a time of a mail": ("Tue, 24 Nov 2026 10:00:00 GMT", ValueKind.RFC_TIME),
        "a time without a zone": ("24.11.2026 09:00", ValueKind.PATTERN_TIME),
        "with the month before the day": ("11/24/2026 9:00 AM", ValueKind.PATTERN_TIME),
        "the same day far in the east": ("25.11.2026 01:00", ValueKind.PATTERN_TIME),
        "one of another year": ("24.11.2019 09:00", ValueKind.OLD_PATTERN_TIME),
        "one that does not exist": ("31.02.2026 10:00", ValueKind.OLD_PATTERN_TIME),
        "zeros for one": ("00/00/0000 00:00", ValueKind.OLD_PATTERN_TIME),
        "seconds as text": ("1795515600", ValueKind.EPOCH_TEXT),
        "a text with white space at its ends": (" acme", ValueKind.ODD_TEXT),
        "a text with a phone number": ("call +12025550173", ValueKind.PERSONAL_TEXT),
        "digits and signs": ("4.2.1", ValueKind.CODE),
        "a number beyond all amounts": (-1764000000, ValueKind.ENDLESS_NUMBER),
        "a private address": ("10.0.0.1", ValueKind.ODD_TEXT),
        "a large number": (1764000000, ValueKind.LARGE_NUMBER),
        "an IP address": ("8.8.8.8", ValueKind.IP_ADDRESS),
        "a country that asks for consent": ("de", ValueKind.CONSENT_COUNTRY),
        "a country of a language tag": ("en-US", ValueKind.COUNTRY),
        "a yes": ("GRANTED", ValueKind.GRANTED),
        "a no": ("denied", ValueKind.DENIED),
        "one of Amazon's types": ("CHECKOUT", ValueKind.EVENT_TYPE),
        "a currency": ("EUR", ValueKind.CURRENCY),
        "a blank": ("  ", ValueKind.BLANK),
        "a name in another script": ("李", ValueKind.FOREIGN_TEXT),
        "a name": ("Ada", ValueKind.TEXT),
        "a long text": ("a" * 300, ValueKind.LONG_TEXT),
        "a text beyond any field": ("a" * 1100, ValueKind.ENDLESS_TEXT),
        "seconds since 1970": (1795515600, ValueKind.EPOCH_SECONDS),
        "milliseconds since 1970": (1795515600000, ValueKind.EPOCH_MILLISECONDS),
        "a negative number": (-3, ValueKind.NEGATIVE),
        "zero": (Decimal("0.0"), ValueKind.ZERO),
        "true is no number": (True, ValueKind.BOOLEAN),
        "an object without members": ({}, ValueKind.EMPTY_OBJECT),
    },
)
def test_a_value_has_one_kind(value: Any, kind: ValueKind) -> None:
    """The sample contains nothing else about the field."""
    assert kind_of(value, NOW) is kind


@pytest.mark.parametrize("kind", list(ValueKind))
def test_what_stands_in_for_a_kind_is_of_that_kind(kind: ValueKind) -> None:
    """So a draft meets the form that the real value had; digits may be an epoch, and both stand in for it."""
    word = "DD.MM.YYYY hh:mm:ss A" if kind in PATTERN_TIMES else None
    assert kind_of(synthetic_event((SampleEntry("a", kind, word),), NOW)["a"], NOW) is kind
    assert kind.json_type


NAMES = ("user", "total_1", "item-no", "Größe", "x y", "ada@example.com", "p12025550173", "", "\0", '"]["')


def test_a_sample_contains_plain_names_and_kinds() -> None:
    """Whatever the event: no value, no odd name, bounded; and it can be stored, replaced and read again."""
    rng = random.Random(1)
    for _ in range(300):
        event = {rng.choice(NAMES): nested_value(rng, NAMES) for _ in range(6)}
        found = take_sample(event, now=NOW)
        assert len(found) <= MAX_PATHS, event
        for path, kind, _ in found:
            assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]")
            assert isinstance(kind, ValueKind)
        group = SampleGroup({found: 3}, {})
        assert read(pack(group, Fingerprints()), Fingerprints()) == group
        assert {entry.path for entry in take_sample(synthetic_event(found, NOW), now=NOW)} >= {
            path for path, kind, _ in found if kind not in (ValueKind.OBJECT, ValueKind.LIST)
        }


@cases(
    "event",
    {
        "an address as a name": {"by_person": {"ada@example.com": 1}},
        "a number within a name": {"by_phone": {"p12025550173": 1}},
        "a table of a hundred": {"by_person": {f"person_{n}": 1 for n in range(100)}},
        "a name with a space": {"by_person": {"Ada Lovelace": 1}},
    },
)
def test_names_that_may_be_values_are_left_out(event: dict[str, Any]) -> None:
    """A person may stand on the left of the colon, too."""
    assert not [path for path, *_ in take_sample(event, now=NOW) if "." in path]


def test_a_path_that_a_mapping_reads_stays_whatever_its_name() -> None:
    """The mapping says it already; a draft can be judged by it."""
    assert take_sample({"utm source": {"x": "y"}}, ['["utm source"].x'], now=NOW) == (
        SampleEntry('["utm source"].x', ValueKind.TEXT),
    )


# --- Backtest -------------------------------------------------------------------------------------

DIGEST = partial(fingerprint, key=b"pepper")


def sampled(
    *events: tuple[dict[str, Any], int], accepted: bool = True, version: int = 0
) -> list[SampleGroup]:
    """The samples of these events, each with its number, as the sampler takes them."""
    samples: Counter[SchemaSample] = Counter()
    for event, times in events:
        samples[take_sample(event, now=NOW, fingerprint=DIGEST)] += times
    keys = ("EMAIL", "PHONE") if accepted else ()
    return [SampleGroup(samples, {}, version=version, accepted=accepted, match_keys=keys)]


SEEN = sampled((EVENT, 8), (without("phone"), 2))
SEEN_SAMPLES = list(SEEN[0].samples.items())


def compared(
    groups: list[SampleGroup], draft: dict[str, Any], rules: Rules = RULES, **published: Any
) -> Backtest:
    documents = {**DOCUMENT, **published}, {**DOCUMENT, **draft}
    before, after = (mapping(**one) for one in documents)
    return backtest(groups, before, after, rules, fingerprint=DIGEST, now=NOW)


def tried(groups: list[SampleGroup] = SEEN, **changes: Any) -> Backtest:
    return compared(groups, changes)


def test_a_draft_that_changes_nothing_loses_nothing() -> None:
    """All ten are judged."""
    assert tried() == Backtest(events=10)
    assert summary(tried()) == "Of the last 10: nothing changes."


def test_a_broken_phone_path_loses_the_phones_that_were_there() -> None:
    """Eight of ten had one."""
    result = tried(**fields(phone="user.fone"))
    assert result.lost == {"PHONE": 8}
    assert float(result.loss) == 0.8


def test_a_wrong_type_rejects_and_says_why() -> None:
    """A text where a number is taken."""
    result = tried(**fields(value="event.properties.brand"))
    assert result.rejected == {EventProblem("wrong_type", "event.properties.brand", "value"): 10}
    assert result.loss == 1


def test_an_event_left_without_any_key_is_newly_rejected() -> None:
    """Only phones are mapped: the two without are refused."""
    result = tried(fields={"event_timestamp": "event.timestamp", "phone": "user.phone"})
    assert result.rejected == {EventProblem("no_match_key", None, None): 2}
    assert result.lost == {"EMAIL": 8}


def test_a_new_key_is_gained() -> None:
    """Fields that only the draft reads are listed too."""
    groups = sampled(({**EVENT, "user": {**EVENT["user"], "first_name": "Ada"}}, 3))
    result = tried(groups, **fields(first_name="user.first_name"))
    assert (result.gained, result.loss) == ({"FIRST_NAME": 3}, 0)


def test_rejected_events_that_only_the_draft_accepts_are_counted() -> None:
    """A draft is often written because the published mapping rejects events."""
    groups = sampled(({**EVENT, "at": EVENT["event"]["timestamp"]}, 4), accepted=False, version=1)
    published = fields(event_timestamp="when")
    result = compared(groups, fields(event_timestamp="at"), **published)
    assert (result.newly_accepted, result.unclear, result.rejected) == (4, {}, {})
    assert summary(result) == "Of the last 4: 4 are newly accepted."
    assert compared(groups, published, **published) == Backtest(events=4)


def test_consent_strings_and_epochs_can_be_stood_in_for() -> None:
    """A mapping in mode tcf with a time in seconds is judged, not unclear."""
    changes: dict[str, Any] = {
        "consent": {"mode": "tcf", "string": "consent.tcf"},
        "fields": {"event_timestamp": {"path": "ts", "pipe": ["epoch_s"]}, "email": "user.email"},
    }
    sample = (
        SampleEntry("ts", ValueKind.EPOCH_SECONDS),
        SampleEntry("user.email", ValueKind.EMAIL),
        SampleEntry("consent.tcf", ValueKind.TCF),
    )
    eu = Rules("dst_x", "map_x", 1, Region.EU, Profile.AMAZON, "EUR", None, {})
    groups = [SampleGroup({sample: 4}, {})]
    assert compared(groups, changes, eu, **changes) == Backtest(events=4)


KINDS = ["Lead", "Cart"] * 15
EVENTS_OF_KINDS = [
    (
        {
            **EVENT,
            "event": {**EVENT["event"], "properties": {**EVENT["event"]["properties"], "kind": kind}},
            "shop": {"place": "North" if kind == "Lead" else "South", "agreed": "y", "limited": "no"},
        },
        1,
    )
    for kind in KINDS
]


def agreement(source: dict[str, Any]) -> dict[str, Any]:
    return {"consent": {"mode": "amazon", "user_data": source}}


MAP = {"Lead": "SEARCH", "Cart": "ADD_TO_SHOPPING_CART"}


@cases(
    ("draft", "fewer", "reason"),
    {
        "type": (
            {"event_type": {"path": "event.properties.kind", "pipe": [["map", MAP]]}},
            {"event_type": {"path": "event.properties.kind", "pipe": [["map", {"Lead": "SEARCH"}]]}},
            "event_type_invalid",
        ),
        "source": (
            {"event_source": {"path": "shop.place", "pipe": [["map", {"North": "ANDROID", "South": "IOS"}]]}},
            {"event_source": {"path": "shop.place", "pipe": [["map", {"South": "IOS"}]]}},
            "event_source_invalid",
        ),
        "country": (
            {"country_code": {"path": "shop.place", "pipe": [["map", {"North": "CA", "South": "MX"}]]}},
            {"country_code": {"path": "shop.place", "pipe": [["map", {"South": "MX"}]]}},
            "country_invalid",
        ),
        "limited data use": (
            fields(limited_data_use={"path": "shop.limited", "pipe": [["map", {"no": "true"}], "to_bool"]}),
            fields(limited_data_use={"path": "shop.place", "pipe": [["map", {"South": "true"}], "to_bool"]}),
            None,  # an unmapped text goes on to `to_bool`, which may read it
        ),
        "consent": (
            agreement({"path": "shop.agreed", "pipe": [["map", {"y": "yes"}]]}),
            agreement({"path": "shop.place", "pipe": [["map", {"South": "yes"}]]}),
            "consent_invalid",
        ),
    },
)
def test_the_pipe_map_is_judged_by_fingerprints(
    draft: dict[str, Any], fewer: dict[str, Any], reason: str | None
) -> None:
    """A draft that maps all texts rejects nothing; one that maps half of them rejects the other half."""
    groups = sampled(*EVENTS_OF_KINDS)
    good, bad = tried(groups, **draft), tried(groups, **fewer)
    assert (good.rejected, good.unclear, good.loss) == ({}, {}, 0)
    assert good.changed
    if reason is None:
        assert (bad.rejected.total(), sum(bad.unclear.values())) == (0, 15)
    else:
        assert (bad.rejected.total(), bad.unclear, float(bad.loss)) == (15, {}, 0.5)
        assert {group.reason for group in bad.rejected} == {reason}


PLACEHOLDERS = ("n/a", "null", "(not set)", "{{email}}", "%%MAIL%%", "000 000 0000", "+0000000", "0" * 64)
DIGESTS = ("a" * 64, "1" * 64, sha256(b"").hexdigest(), sha256(b"ada@example.com").hexdigest().upper())


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(("email", "phone", "first_name", "city", "postal"), PLACEHOLDERS + DIGESTS),
        *product(("match_id", "ramp_id"), PLACEHOLDERS),
    ],
)
def test_a_placeholder_gives_what_the_identity_profile_makes_of_it(
    name: str, value: str, profile: Profile
) -> None:
    """`null` is dropped by `amazon`, and is a name for `segment`. A digest of one digit is a digest."""
    rules = replace(RULES, profile=profile)
    event = {**EVENT, "x": value}
    draft = fields(**{name: "x"})
    converted = convert(Event("ord-1", "dst_x", "map_x", event), "ord-1", mapping(**draft), rules, now=NOW)
    assert isinstance(converted, Conversion)
    key = KEYS[name]
    is_sent = key in converted.match_keys
    result = compared(sampled((event, 4)), draft, rules)
    had_key = name in ("email", "phone")
    assert result.unclear == {}
    assert result.gained == ({key: 4} if is_sent and not had_key else {})
    assert result.lost == ({key: 4} if had_key and not is_sent else {})


@pytest.mark.parametrize("step", ["to_number", ["to_number", "."], ["to_number", ","]])
def test_three_decimals_are_read_with_every_sign(step: Any) -> None:
    """The Kuwaiti dinar has three, so bare `to_number` must read them in a backtest, as it does in events."""
    result = tried(sampled(({**EVENT, "x": "1.234"}, 4)), **fields(value={"path": "x", "pipe": [step]}))
    assert (result.rejected, result.unclear, result.changed) == ({}, {}, {"value": 4})


@pytest.mark.parametrize("template", ["{x[0].sku}-{x|count}", "{x[*].sku|first}-{x|count}"])
def test_what_a_list_holds_is_unclear_where_its_length_is(template: str) -> None:
    """A sample holds five members; the unknown list must not look like a text without members."""
    event = {**EVENT, "x": [{"sku": f"S{n}", "sizes": [n]} for n in range(6)]}
    rows = [*DOCUMENT["custom_data"], {"name": "skus", "template": template}]
    result = tried(sampled((event, 4)), custom_data=rows)
    assert (result.unclear.total(), "nothing changes" in summary(result)) == (4, False)


@pytest.mark.parametrize("source", [{"path": "x.a[*].b", "pipe": ["count"]}, "x.a[*].b"])
def test_a_list_in_an_object_of_which_no_member_is_recorded_is_unclear(source: Any) -> None:
    """The list may be absent. It must not look like a list of one member."""
    event = {**EVENT, "x": {f"k{n}": n for n in range(70)}}
    result = tried(sampled((event, 4)), **fields(value=source))
    assert (result.rejected, result.changed, result.unclear.total()) == ({}, {}, 4)


def test_only_amazons_profile_finds_no_phone_in_an_address_for_certain() -> None:
    """The other profiles take its digits, if it has any."""
    groups, draft = sampled((EVENT, 4)), fields(phone="user.email")
    assert compared(groups, draft).lost == {"PHONE": 4}
    for profile in (Profile.SEGMENT, Profile.AMAZON_GTM):
        result = compared(groups, draft, replace(RULES, profile=profile))
        assert (result.lost, result.changed, result.unclear.total()) == ({}, {}, 4)


def test_a_map_of_texts_without_fingerprints_is_unclear() -> None:
    """Neither a loss nor "nothing changes"."""
    events = [({**EVENT, "kind": f"kind {n}" + "x" * 40}, 1) for n in range(4)]
    result = tried(sampled(*events), event_type={"path": "kind", "pipe": [["map", MAP]]})
    assert (result.rejected, result.loss) == ({}, 0)
    assert result.unclear == {EventProblem("content_unknown", "kind", "event_type"): 4}
    assert summary(result) == (
        "Of the last 4: no change is certain. Unclear, because the samples hold no texts: "
        "4 content_unknown, event_type."
    )


@cases(
    ("different", "counters", "repeated", "unclear"),
    {
        "two events of each order": ({"order": 15}, 1, 15, 0),
        "an order for each event": ({"order": 30}, 1, 0, 0),
        "one order": ({"order": 1}, 1, 29, 0),
        "counted by two processes": ({"order": 15}, 2, 0, 15),
    },
)
def test_repeated_event_ids_are_foreseen(
    different: dict[str, int], counters: int, repeated: int, unclear: int
) -> None:
    """The second event with a mapped id would be rejected. One process does not know what another one saw."""
    events = sampled(*(({**EVENT, "order": "A-1"}, 1) for _ in range(30)))[0].samples
    groups = [
        SampleGroup(
            {sample: times // counters for sample, times in events.items()},
            different,
            counter=counter,
        )
        for counter in range(counters)
    ]
    result = tried(groups, **fields(event_id="order"))
    assert (result.repeated_event_ids, sum(result.unclear.values())) == (repeated, unclear)
    assert (result.rejected, result.loss) == ({}, Fraction(repeated, 30))
    assert result.harmful is (repeated > 0)
    template = tried(groups, **fields(event_id={"template": "{order}-{event.name}"}))
    assert (template.repeated_event_ids, template.loss) == (0, 0)


@pytest.mark.parametrize(
    "source",
    [
        "items[-1].sku",
        {"path": "items[*].sku", "pipe": ["first"]},
        {"path": "items", "pipe": [["pluck", "sku"], "join"]},
    ],
)
def test_ids_from_lists_may_repeat(source: Any) -> None:
    """No member of a list is counted under such a path."""
    sample = take_sample({**EVENT, "items": [{"sku": "a"}]}, now=NOW)
    group = SampleGroup({sample: 30}, {"items[0].sku": 1}, version=1, match_keys=("EMAIL", "PHONE"))
    result = compared([group], fields(event_id=source))
    path = source if isinstance(source, str) else source["path"]
    assert result.repeated_event_ids == 0
    assert result.unclear == {EventProblem("repeats_unknown", path, "event_id"): 30}


@cases(
    ("source", "repeated"),
    {
        "a constant": ({"const": "x"}, 29),
        "a constant number": ({"const": 5}, 29),
        "the default of 10 events": ({"path": "order", "default": "x"}, 9),
        "the last member": ({"first_of": [{"path": "order"}, {"const": "x"}]}, 9),
    },
)
def test_a_constant_event_id_repeats_itself(source: dict[str, Any], repeated: int) -> None:
    """All events but the first would be rejected."""
    events = ({**EVENT, "order": "A-1"}, 20), (EVENT, 10)
    groups = [SampleGroup(each.samples, {"order": 20}, counter=1) for each in sampled(*events)]
    result = tried(groups, **fields(event_id=source))
    assert (result.repeated_event_ids, result.loss) == (repeated, Fraction(repeated, 30))


def test_a_field_with_the_same_source_has_the_same_result() -> None:
    """A type that no sample shows does not hide what else the draft changes."""
    kind = {"event_type": {"path": "kind", "pipe": ["trim", "upper"]}}
    groups = sampled(({**EVENT, "kind": " lead "}, 6), version=1)
    result = compared(groups, {**kind, **fields(phone="user.fone")}, **kind)
    assert (result.lost, result.unclear) == ({"PHONE": 6}, {})
    assert summary(compared(groups, kind, **kind)) == "Of the last 6: nothing changes."
    older = sampled(({**EVENT, "kind": " lead "}, 6))
    assert compared(older, {**kind, **fields(phone="user.fone")}, **kind).lost == {}


@cases(
    ("changes", "changed"),
    {
        "type, and the id made of it": ({"event_type": "LEAD"}, {"event_type", "event_id"}),
        "source": ({"event_source": "ANDROID"}, {"event_source"}),
        "name": ({"event_name": "Cart"}, {"event_name"}),
        "country": ({"country_code": "CA"}, {"country_code"}),
        "custom data removed": ({"custom_data": []}, {"custom_data.brand"}),
        "custom data from another path of the same kind": (
            {"custom_data": [{"name": "brand", "path": "event.name"}]},
            {"custom_data.brand"},
        ),
        "the pair of R11 gone": (
            {"consent": {"mode": "amazon", "user_data": "consent.nowhere"}},
            {"consent"},
        ),
        "no consent signal": ({"consent": {"mode": "none"}}, {"consent"}),
        "time from another path": (fields(event_timestamp="event.seen_at"), {"event_timestamp"}),
        "another person's e-mail address": (fields(email="user.other_email"), {"email"}),
        "deduplication id": (fields(event_id="event.name"), {"event_id"}),
        "value removed": (fields(value=None), {"value"}),
        "user agent": (fields(user_agent="event.name"), {"user_agent"}),
        "data processing": (fields(limited_data_use={"const": True}), {"limited_data_use"}),
        "IP address": (fields(ip_address="ip"), {"ip_address"}),
    },
)
def test_everything_that_is_sent_is_compared(changes: dict[str, Any], changed: set[str]) -> None:
    """The summary names each field."""
    event = {
        **EVENT,
        "event": {**EVENT["event"], "name": "cart", "seen_at": "2026-11-24T10:00:05Z"},
        "user": {**EVENT["user"], "other_email": "bob@example.com"},
        "ip": "9.9.9.9",
    }
    result = tried([replace(sampled((event, 5))[0], different={"event.name": 5})], **changes)
    assert (set(result.changed), set(result.changed.values()), result.loss) == (changed, {5}, 0)
    assert all(f"5 send a different {name}" in summary(result) for name in changed)


def test_a_key_that_the_published_mapping_dropped_is_no_match_key() -> None:
    """Whatever its form: the match keys of the events are stored with the samples."""
    sample = take_sample({**EVENT, "user": {**EVENT["user"], "phone": "+1 555 12"}}, now=NOW)
    phone_only = {"fields": {"event_timestamp": "event.timestamp", "phone": "user.phone"}}
    for keys, rejected in ((("EMAIL",), 2), (("EMAIL", "PHONE"), 0)):
        groups = [SampleGroup({sample: 2}, {}, version=1, match_keys=keys)]
        result = compared(groups, phone_only)
        assert (result.rejected.total(), result.unclear) == (rejected, {})
    unknown = compared([SampleGroup({sample: 2}, {})], phone_only)
    assert unknown.unclear == {EventProblem("content_unknown", None, "no_match_key"): 2}


def test_one_event_is_singular() -> None:
    """In every part of the sentence."""
    result = Backtest(
        events=9,
        lost=Counter(EMAIL=1),
        gained=Counter(CITY=1),
        changed=Counter(value=1),
        rejected=Counter({EventProblem("wrong_type", "a", "value"): 1}),
        newly_accepted=1,
        repeated_event_ids=1,
        unclear=Counter({EventProblem("content_unknown", "b", "phone"): 1}),
    )
    assert summary(result) == (
        "Of the last 9: 1 loses EMAIL, 1 gains CITY, 1 sends a different value, "
        "1 is newly rejected (wrong_type, value), 1 is newly accepted, "
        "1 repeats an event id and would be rejected. "
        "Unclear, because the samples hold no texts: 1 content_unknown, phone."
    )


# --- Catalogue ------------------------------------------------------------------------------------


def test_the_catalogue_knows_paths_types_and_fill_rates() -> None:
    """Eight of ten had a phone."""
    learned = merge_samples(SEEN_SAMPLES)
    phone = learned.entries["user.phone"]
    assert (learned.events, phone.present, phone.filled, phone.types) == (10, 8, 8, {"text": 8})
    assert learned.entries["event.properties.total"].types == {"number": 10}


def test_a_schema_has_only_the_most_frequent_paths() -> None:
    """Member names that are values give any number of paths. A draft's path is then no misspelt one."""
    unusual: list[tuple[SchemaSample, int]] = [
        (tuple(SampleEntry(f"names.n{event}_{name}", ValueKind.TEXT) for name in range(100)), 1)
        for event in range(50)
    ]
    learned = merge_samples([*unusual, *SEEN_SAMPLES])
    assert len(learned.entries) == MOST_PATHS < 50 * 100
    assert learned.events == 60
    assert learned.entries["user.phone"].present == 8
    assert schema_mismatches({**DOCUMENT, **fields(phone="user.fone")}, learned) == []


def test_unknown_paths_and_unusual_types_are_lint_warnings() -> None:
    """With their place in the document; a default or a pipe is the author's own affair."""
    draft = {**DOCUMENT, **fields(phone="user.fone", value="event.properties.brand")}
    assert {(one.code, one.field) for one in schema_mismatches(draft, merge_samples(SEEN_SAMPLES))} == {
        ("path_unknown", "fields.phone"),
        ("path_type_unusual", "fields.value"),
    }
    assert schema_mismatches(draft, merge_samples([])) == []


def test_a_number_that_is_a_time_is_not_unusual() -> None:
    """Seconds and milliseconds are read without a pipe; another number is no time."""
    for time, codes in ((1_795_515_600, []), (1_795_515_600_000, []), (7, ["path_type_unusual"])):
        schema = merge_samples([(take_sample({"at": time}, now=NOW), 1)])
        found = schema_mismatches({"fields": {"event_timestamp": "at"}}, schema)
        assert [each.code for each in found] == codes


def test_damaged_outlines_are_none_whatever_is_damaged() -> None:
    """Every flipped bit and every cut: never an error, never other outlines."""
    found = take_sample({"user": {"email": "a@example.com"}, "total": 3}, now=NOW)
    group, known = SampleGroup({found: 3}, {}), Fingerprints()
    kept = pack(group, known)
    for bit in range(len(kept) * 8):
        spoiled = bytearray(kept)
        spoiled[bit // 8] ^= 1 << bit % 8
        assert read(bytes(spoiled), known) in (None, group), bit
    assert {read(kept[:length], known) is None for length in range(len(kept))} == {True}


@pytest.mark.parametrize(
    ("source", "is_known"),
    [
        ({"path": "items[*].price", "pipe": ["sum"]}, True),
        ({"path": "items", "pipe": [["sum", "price"]]}, True),
        ({"path": "items[-1].price", "pipe": ["to_number"]}, True),
        ({"path": "one[*].price", "pipe": ["sum"]}, True),
        ({"path": "items[*].coupon", "pipe": ["sum"]}, True),
        ({"path": "one[*].parts[*].cost", "pipe": ["sum"]}, True),
        ({"path": "items[*].cost", "pipe": ["sum"]}, False),
        ({"path": "goods", "pipe": ["count"]}, False),
    ],
)
def test_paths_through_lists_are_known(source: dict[str, Any], is_known: bool) -> None:
    """Samples have the first members of a list; an object counts as a list of one."""
    one = {"price": "3.50", "parts": [{"cost": "1.50"}]}
    content = {"items": [{"price": "1.50"}, {"price": "2.50", "coupon": "1"}], "one": one}
    schema = merge_samples([(take_sample(content, now=NOW), 10)])
    found = schema_mismatches({"fields": {"value": source}}, schema)
    assert [each.code for each in found] == ([] if is_known else ["path_unknown"])


def test_the_time_to_find_a_path_is_bounded() -> None:
    """Each member of a list can be one of five, and an object stands for a list of one: 6 ** 15 paths."""
    content = {f"name{number}": [[[[[[[{"price": 1}]]]]]]] for number in range(20)}
    schema = merge_samples([(take_sample(content, now=NOW), 10)])
    began = process_time()
    assert schema.find(f"name7{'[-1]' * 15}.cost") is None
    assert not schema.has_members(f"name7{'[-1]' * 15}.cost")
    assert process_time() - began < 0.5


def test_a_name_that_begins_as_that_of_a_list_is_no_member_of_it() -> None:
    """What a sample leaves out of the list `item` hid the misspelt path `itemized`, and its lost key."""
    event = {**EVENT, "item": ["a", 1, True, None, {}, []]}
    sample = take_sample(event, now=NOW)
    schema = merge_samples([(sample, 10)])
    for path, codes in (("itemized", ["path_unknown"]), ("item.total", []), ("item[7]", [])):
        found = schema_mismatches({"fields": {"phone": {"path": path}}}, schema)
        assert [each.code for each in found] == codes, path
    group = SampleGroup({sample: 3}, {}, version=1, match_keys=("EMAIL", "PHONE"))
    assert compared([group], fields(phone="itemized")) == Backtest(events=3, lost=Counter(PHONE=3))
    assert compared([group], fields(phone="item[7]")).unclear_events == 3


def test_a_fallback_changes_nothing_for_events_that_had_the_key() -> None:
    """The draft tries the published source first, so what it sends is the same, whatever the text is."""
    event = {**EVENT, "user": {**EVENT["user"], "email": " ada.1234567@example.com "}}
    sample = take_sample(event, now=NOW)
    group = SampleGroup({sample: 3}, {}, version=1, match_keys=("EMAIL", "PHONE"))
    result = compared([group], fields(email={"first_of": [{"path": "user.email"}, {"path": "user.mail"}]}))
    assert result == Backtest(events=3)


def test_what_an_event_sent_decides_where_its_texts_are_not_known() -> None:
    """A removed field was sent or not; a source of Amazon's list is recorded with its value."""
    published = {
        "event_source": {"path": "user.app", "pipe": ["lower", ["map", {"tv": "FIRE_TV", "*": "IOS"}]]}
    }
    rows = [{"name": "note", "path": "event.note", "pipe": ["upper"]}]
    event = {**EVENT, "event": {**EVENT["event"], "note": "gift"}, "user": {**EVENT["user"], "app": "Mobile"}}
    sample = take_sample(event, now=NOW)

    def tried_on(*sent: str) -> Backtest:
        keys = ("EMAIL", "PHONE")
        group = SampleGroup({sample: 2}, {}, version=1, match_keys=keys, facts=("email", "phone", *sent))
        changes = {"event_source": "IOS", "custom_data": []}
        return compared([group], changes, custom_data=rows, **published)

    assert tried_on("event_source=IOS") == Backtest(events=2)
    assert tried_on("event_source=IOS", "custom_data.note").changed == {"custom_data.note": 2}
    assert tried_on("event_source=FIRE_TV").changed == {"event_source": 2}
