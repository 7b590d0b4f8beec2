"""Event schema samples record kinds of values, never values; drafts are backtested with them."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.admin.backtest import summary
from app.domain.conversion.convert import Conversion, Rules, convert
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.destination import Region
from app.domain.event import Event
from app.domain.identity import Profile
from app.domain.mapping.document import Mapping, check_publishable, compile_mapping
from app.domain.mapping.presets import PRESETS
from app.domain.observed.backtest import Backtest, RejectionGroup, backtest
from app.domain.observed.event_schema import MOST_PATHS, merge_samples, schema_mismatches
from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import (
    MAX_PATHS,
    TYPES,
    SampleEntry,
    SampleGroup,
    SchemaSample,
    ValueKind,
    kind_of,
    pack,
    read,
    take_sample,
)
from app.domain.observed.synthetic_event import synthetic_event

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules("dst_x", "map_x", 1, Region.NA, Profile.AMAZON, "USD", None, {})
DOCUMENT: dict[str, Any] = {
    "name": "Cart",
    "event_type": "ADD_TO_SHOPPING_CART",
    "event_source": "WEBSITE",
    "event_name": "Added to cart",
    "country_code": {"path": "user.country", "default": "US"},
    "fields": {
        "event_timestamp": "event.timestamp",
        "email": "user.email",
        "phone": "user.phone",
        "value": "event.properties.total",
    },
    "custom_data": [{"name": "brand", "path": "event.properties.brand"}],
    "consent": {"mode": "granted"},
}
EVENT: dict[str, Any] = {
    "event_id": "ord-1",
    "destination_id": "dst_1",
    "event": {"timestamp": "2026-11-24T10:00:00Z", "properties": {"brand": "acme", "total": Decimal("9.90")}},
    "user": {"email": "ada@example.com", "phone": "+1 202 555 0173", "country": "US"},
}


def mapping(**changes: Any) -> Mapping:
    made = compile_mapping({**DOCUMENT, **changes})
    assert isinstance(made, Mapping), made
    return made


def fields(**changes: Any) -> dict[str, Any]:
    return {"fields": {**DOCUMENT["fields"], **changes}}


def without(name: str) -> dict[str, Any]:
    return {**EVENT, "user": {key: value for key, value in EVENT["user"].items() if key != name}}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param("ada@example.com", ValueKind.EMAIL, id="an e-mail address"),
        pytest.param(
            "5E884898DA28047151D0E56F8DC6292773603D0D6AABBDD62A11EF721D1542D8", ValueKind.HASH, id="a hash"
        ),
        pytest.param("38400000-8cf0-11bd-b23e-10b96e40000d", ValueKind.UUID, id="an advertising id"),
        pytest.param("2026-11-24T10:00:00Z", ValueKind.TIME, id="a time with a zone"),
        pytest.param("2026-11-24", ValueKind.DATE, id="a date is no time"),
        pytest.param("+1 (202) 555-0173", ValueKind.PHONE, id="a phone with country code"),
        pytest.param("030 901820", ValueKind.NATIONAL_PHONE, id="a phone without"),
        pytest.param("12025550173", ValueKind.DIGITS, id="digits"),
        pytest.param("12.50", ValueKind.NUMBER_TEXT, id="a number as text"),
        pytest.param("8.8.8.8", ValueKind.IP_ADDRESS, id="an IP address"),
        pytest.param("de", ValueKind.CONSENT_COUNTRY, id="a country that asks for consent"),
        pytest.param("en-US", ValueKind.COUNTRY, id="a country of a language tag"),
        pytest.param("GRANTED", ValueKind.GRANTED, id="a yes"),
        pytest.param("denied", ValueKind.DENIED, id="a no"),
        pytest.param("CHECKOUT", ValueKind.EVENT_TYPE, id="one of Amazon's types"),
        pytest.param("EUR", ValueKind.CURRENCY, id="a currency"),
        pytest.param("  ", ValueKind.BLANK, id="a blank"),
        pytest.param("李", ValueKind.FOREIGN_TEXT, id="a name in another script"),
        pytest.param("Ada", ValueKind.TEXT, id="a name"),
        pytest.param("a" * 300, ValueKind.LONG_TEXT, id="a long text"),
        pytest.param("a" * 1100, ValueKind.ENDLESS_TEXT, id="a text beyond any field"),
        pytest.param(1764000000, ValueKind.EPOCH_SECONDS, id="seconds since 1970"),
        pytest.param(1764000000000, ValueKind.EPOCH_MILLISECONDS, id="milliseconds since 1970"),
        pytest.param(-3, ValueKind.NEGATIVE, id="a negative number"),
        pytest.param(Decimal("0.0"), ValueKind.ZERO, id="zero"),
        pytest.param(True, ValueKind.BOOLEAN, id="true is no number"),
        pytest.param({}, ValueKind.OBJECT, id="an object without members"),
    ],
)
def test_a_value_has_one_kind(value: Any, kind: ValueKind) -> None:
    """And nothing else is said of it."""
    assert kind_of(value) is kind


@pytest.mark.parametrize("kind", list(ValueKind))
def test_what_stands_in_for_a_kind_is_of_that_kind(kind: ValueKind) -> None:
    """So a draft meets the form that the real value had; digits may be an epoch, and both stand in for it."""
    made = synthetic_event((SampleEntry("a", kind),), NOW)["a"]
    assert kind_of(made) is kind or kind in (ValueKind.OBJECT, ValueKind.LIST, ValueKind.UNUSABLE_ID)
    assert kind in TYPES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=12), json_values, max_size=6))
def test_an_outline_is_made_of_plain_names_and_kinds(event: dict[str, Any]) -> None:
    """Whatever the event: no value, no odd name, bounded; and it can be kept, stood in for and told again."""
    found = take_sample(event)
    assert len(found) <= MAX_PATHS
    for path, kind, _ in found:
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]")
        assert isinstance(kind, ValueKind)
    group = SampleGroup({found: 3}, {})
    assert read(pack(group, Fingerprints()), Fingerprints()) == group
    assert {entry.path for entry in take_sample(synthetic_event(found, NOW))} >= {
        path for path, kind, _ in found if kind not in (ValueKind.OBJECT, ValueKind.LIST)
    }


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"by_person": {"ada@example.com": 1}}, id="an address as a name"),
        pytest.param({"by_phone": {"p12025550173": 1}}, id="a number within a name"),
        pytest.param({"by_person": {f"person_{n}": 1 for n in range(100)}}, id="a table of a hundred"),
        pytest.param({"by_person": {"Ada Lovelace": 1}}, id="a name with a space"),
    ],
)
def test_names_that_may_be_values_are_left_out(event: dict[str, Any]) -> None:
    """A person may stand on the left of the colon, too."""
    assert not [path for path, *_ in take_sample(event) if "." in path]


def test_a_path_that_a_mapping_reads_is_kept_whatever_its_name() -> None:
    """The mapping says it already; a draft can be judged by it."""
    assert take_sample({"utm source": {"x": "y"}}, ['["utm source"].x']) == (
        SampleEntry('["utm source"].x', ValueKind.TEXT),
    )


def test_a_real_event_and_its_stand_in_carry_the_same_keys() -> None:
    """What the backtest rests on."""
    made = synthetic_event(take_sample(EVENT), NOW)
    real = convert(Event("a", "d", "m", EVENT), "a", mapping(), RULES, now=NOW)
    ours = convert(Event("a", "d", "m", made), "a", mapping(), RULES, now=NOW)
    assert isinstance(real, Conversion)
    assert isinstance(ours, Conversion)
    assert real.match_keys == ours.match_keys == ("EMAIL", "PHONE")


# --- Backtest -------------------------------------------------------------------------------------

SEEN: list[tuple[SchemaSample, int]] = [(take_sample(EVENT), 8), (take_sample(without("phone")), 2)]


def tried(**changes: Any) -> Backtest:
    return backtest(SEEN, mapping(), mapping(**changes), RULES, now=NOW)


def test_a_draft_that_changes_nothing_loses_nothing() -> None:
    """All ten are judged."""
    result = tried()
    assert (result.events, result.unclear, result.loss) == (10, 0, 0)
    assert not result.lost
    assert not result.rejected


def test_a_broken_phone_path_loses_the_phones_that_were_there() -> None:
    """Eight of ten had one."""
    result = tried(**fields(phone="user.fone"))
    assert result.lost == {"PHONE": 8}
    assert float(result.loss) == 0.8


def test_a_path_to_another_form_loses_the_key_too() -> None:
    """An e-mail address is no phone."""
    assert tried(**fields(phone="user.email")).lost == {"PHONE": 8}


def test_a_wrong_type_rejects_and_says_why() -> None:
    """A text where a number is taken."""
    result = tried(**fields(value="event.properties.brand"))
    assert result.rejected == {("wrong_type", "event.properties.brand", "value"): 10}
    assert result.loss == 1


def test_an_event_left_without_any_key_is_newly_rejected() -> None:
    """Only phones are mapped: the two without are refused."""
    changed = {"fields": {"event_timestamp": "event.timestamp", "phone": "user.phone"}}
    result = tried(**changed)
    assert result.rejected == {("no_match_key", None, None): 2}
    assert result.lost == {"EMAIL": 8}


def test_a_new_key_is_gained() -> None:
    """What the draft adds is said as well."""
    seen = [(take_sample({**EVENT, "user": {**EVENT["user"], "first_name": "Ada"}}), 3)]
    result = backtest(seen, mapping(), mapping(**fields(first_name="user.first_name")), RULES, now=NOW)
    assert result.gained == {"FIRST_NAME": 3}
    assert result.loss == 0


def test_events_that_their_form_does_not_explain_are_unclear_and_do_not_count() -> None:
    """They were taken, so a stand-in that is refused says nothing."""
    seen = [*SEEN, (take_sample({"user": EVENT["user"]}), 5)]
    result = backtest(seen, mapping(), mapping(**fields(phone="user.fone")), RULES, now=NOW)
    assert (result.events, result.unclear, result.loss) == (15, 5, result.loss)
    assert float(result.loss) == 0.8


def test_consent_strings_and_epochs_can_be_stood_in_for() -> None:
    """A mapping in mode tcf with a time in seconds is judged, not unclear."""
    changes: dict[str, Any] = {
        "consent": {"mode": "tcf", "string": "consent.tcf"},
        "fields": {"event_timestamp": {"path": "ts", "pipe": ["epoch_s"]}, "email": "user.email"},
    }
    seen: list[tuple[SchemaSample, int]] = [
        (
            (
                SampleEntry("ts", ValueKind.EPOCH_SECONDS),
                SampleEntry("user.email", ValueKind.EMAIL),
                SampleEntry("consent.tcf", ValueKind.TCF),
            ),
            4,
        )
    ]
    eu = Rules("dst_x", "map_x", 1, Region.EU, Profile.AMAZON, "EUR", None, {})
    result = backtest(seen, mapping(**changes), mapping(**changes), eu, now=NOW)
    assert (result.events, result.unclear) == (4, 0)


def test_a_pipe_that_looks_at_letters_makes_the_field_uncertain() -> None:
    """A made-up value may give it another answer, and the reader is told."""
    result = tried(**fields(phone={"path": "user.phone", "pipe": [["replace", "+1", "+49"]]}))
    assert result.uncertain == ("phone",)


def test_a_draft_that_changes_nothing_says_so() -> None:
    """Only then; a default that no event needs changes nothing, either."""
    assert summary(tried()) == "Of the last 10: nothing changes."
    other_default = tried(country_code={"path": "user.country", "default": "CA"})
    assert summary(other_default) == "Of the last 10: nothing changes."


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        pytest.param({"event_type": "LEAD"}, {"event_type", "event_id"}, id="type, and the id made of it"),
        pytest.param({"event_source": "ANDROID"}, {"event_source"}, id="source"),
        pytest.param({"event_name": "Cart"}, {"event_name"}, id="name"),
        pytest.param({"country_code": "CA"}, {"country_code"}, id="country"),
        pytest.param({"custom_data": []}, {"custom_data.brand"}, id="custom data removed"),
        pytest.param(
            {"custom_data": [{"name": "brand", "path": "event.name"}]},
            {"custom_data.brand"},
            id="custom data from another path of the same kind",
        ),
        pytest.param(
            {"consent": {"mode": "amazon", "user_data": "consent.nowhere"}},
            {"consent"},
            id="the pair of R11 gone",
        ),
        pytest.param({"consent": {"mode": "none"}}, {"consent"}, id="no consent signal"),
        pytest.param(
            fields(event_timestamp="event.seen_at"), {"event_timestamp"}, id="time from another path"
        ),
        pytest.param(fields(email="user.other_email"), {"email"}, id="another person's e-mail address"),
        pytest.param(fields(event_id="event.name"), {"event_id"}, id="deduplication id"),
        pytest.param(fields(value=None), {"value"}, id="value removed"),
        pytest.param(fields(user_agent="event.name"), {"user_agent"}, id="user agent"),
        pytest.param(fields(limited_data_use={"const": True}), {"limited_data_use"}, id="data processing"),
        pytest.param(fields(ip_address="ip"), {"ip_address"}, id="IP address"),
    ],
)
def test_everything_that_is_sent_is_compared(changes: dict[str, Any], changed: set[str]) -> None:
    """The summary names each field."""
    event = {
        **EVENT,
        "event": {**EVENT["event"], "name": "cart", "seen_at": "2026-11-24T10:00:05Z"},
        "user": {**EVENT["user"], "other_email": "bob@example.com"},
        "ip": "9.9.9.9",
    }
    result = backtest([(take_sample(event), 5)], mapping(), mapping(**changes), RULES, now=NOW)
    assert (set(result.changed), set(result.changed.values()), result.loss) == (changed, {5}, 0)
    assert all(f"5 send a different {name}" in summary(result) for name in changed)


@pytest.mark.parametrize(
    ("changes", "uncertain"),
    [
        pytest.param(
            {"custom_data": [{"name": "brand", "path": "event.properties.brand", "pipe": ["lower"]}]},
            "custom_data.brand",
            id="a pipe that a made-up value passes unchanged",
        ),
        pytest.param(
            {"country_code": {"path": "shop.country", "default": "US"}},
            "country_code",
            id="two paths of a kind with one made-up value",
        ),
        pytest.param({"event_type": {"path": "type"}}, "event_type", id="a constant becomes a path"),
        pytest.param(
            fields(user_agent="lines[5].agent"), "user_agent", id="a path that no sample goes down to"
        ),
    ],
)
def test_what_samples_cannot_show_is_uncertain(changes: dict[str, Any], uncertain: str) -> None:
    """It is never called unchanged."""
    event = {**EVENT, "shop": {"country": "GB"}, "type": "ADD_TO_SHOPPING_CART", "lines": [{}]}
    event["user"]["country"] = "DE"
    rules = replace(RULES, pins={"OTHER": "Added to cart"})
    result = backtest([(take_sample(event), 1)], mapping(), mapping(**changes), rules, now=NOW)
    assert uncertain in (*result.uncertain, *result.changed)
    assert "nothing changes" not in summary(result)


@pytest.mark.parametrize("phone", ["+0000000000", "000-000-0000", "N/A", "{{phone}}"])
def test_a_placeholder_is_no_match_key_in_a_backtest_either(phone: str) -> None:
    """Without e-mail such events are rejected; they do not only lose a key."""
    seen = [(take_sample({**EVENT, "user": {**EVENT["user"], "phone": phone}}), 5)]
    draft = mapping(fields={"event_timestamp": "event.timestamp", "phone": "user.phone"})
    result = backtest(seen, mapping(), draft, RULES, now=NOW)
    assert (result.rejected, result.lost) == ({("no_match_key", None, None): 5}, {})
    assert summary(result) == "Of the last 5: 5 are newly rejected (no_match_key)."


def test_a_dropped_key_is_sampled_as_such() -> None:
    """Whatever its form; and an id that is sent unhashed."""
    event = {**EVENT, "user": {**EVENT["user"], "phone": "+1 555 12", "id": "someone@example.com"}}
    sample = take_sample(
        event, (), {"user.phone": ValueKind.UNUSABLE_TRAIT, "user.id": ValueKind.UNUSABLE_ID}
    )
    draft = mapping(
        fields={"event_timestamp": "event.timestamp", "phone": "user.phone", "match_id": "user.id"}
    )
    for profile in Profile:
        result = backtest([(sample, 2)], mapping(), draft, replace(RULES, profile=profile), now=NOW)
        assert result.rejected == {("no_match_key", None, None): 2}


def test_one_event_is_singular() -> None:
    """In every part of the sentence."""
    result = Backtest(
        events=9,
        unclear=1,
        lost=Counter(EMAIL=1),
        gained=Counter(CITY=1),
        changed=Counter(value=1),
        rejected=Counter({RejectionGroup("wrong_type", "a", "value"): 1}),
        uncertain=("phone",),
    )
    assert summary(result) == (
        "Of the last 9: 1 loses EMAIL, 1 gains CITY, 1 sends a different value, "
        "1 is newly rejected (wrong_type, value), 1 could not be tested, "
        "phone may change, depending on the values."
    )


# --- Catalogue ------------------------------------------------------------------------------------


def test_the_catalogue_knows_paths_types_and_fill_rates() -> None:
    """Eight of ten had a phone."""
    learned = merge_samples(SEEN)
    phone = learned.entries["user.phone"]
    assert (learned.events, phone.present, phone.filled, phone.types) == (10, 8, 8, {"text": 8})
    assert learned.entries["event.properties.total"].types == {"number": 10}


def test_a_schema_has_only_the_most_frequent_paths() -> None:
    """Member names that are values give any number of paths. A draft's path is then no misspelt one."""
    unusual: list[tuple[SchemaSample, int]] = [
        (tuple(SampleEntry(f"names.n{event}_{name}", ValueKind.TEXT) for name in range(100)), 1)
        for event in range(50)
    ]
    learned = merge_samples([*unusual, *SEEN])
    assert len(learned.entries) == MOST_PATHS < 50 * 100
    assert learned.events == 60
    assert learned.entries["user.phone"].present == 8
    assert schema_mismatches({**DOCUMENT, **fields(phone="user.fone")}, learned) == []


def test_unknown_paths_and_unusual_types_are_doubted() -> None:
    """With their place in the document; a default or a pipe is the author's own affair."""
    draft = {**DOCUMENT, **fields(phone="user.fone", value="event.properties.brand")}
    assert {(one.code, one.field) for one in schema_mismatches(draft, merge_samples(SEEN))} == {
        ("path_unknown", "fields.phone"),
        ("path_type_unusual", "fields.value"),
    }
    assert schema_mismatches(draft, merge_samples([])) == []


def test_each_of_the_twelve_types_has_a_preset_that_can_be_published() -> None:
    """And what only a purchase takes stands in its preset alone."""
    assert [preset.event_type for preset in PRESETS] == list(EVENT_TYPES)
    for preset in PRESETS:
        assert check_publishable(preset.document()) == []
        assert ("currency" in preset.document()["fields"]) == (preset.event_type == "OFF_AMAZON_PURCHASES")
    assert json.dumps([preset.document() for preset in PRESETS])


def test_damaged_outlines_are_none_whatever_is_damaged() -> None:
    """Every flipped bit and every cut: never an error, never other outlines."""
    found = take_sample({"user": {"email": "a@example.com"}, "total": 3})
    group, known = SampleGroup({found: 3}, {}), Fingerprints()
    kept = pack(group, known)
    for bit in range(len(kept) * 8):
        spoiled = bytearray(kept)
        spoiled[bit // 8] ^= 1 << bit % 8
        assert read(bytes(spoiled), known) in (None, group), bit
    assert {read(kept[:length], known) is None for length in range(len(kept))} == {True}
