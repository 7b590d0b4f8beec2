"""Laws of the conversion: whatever is sent, under whatever mapping, gives a valid event or a known reason."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from amazon_schema import VALIDATOR
from conversions import NOW, RULES, convert
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES, PURCHASE
from app.domain.conversion.convert import ConversionPlan, Rules
from app.domain.destination import Region
from app.domain.event import Event, Rejection
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.mapping.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.mapping.pipes import PIPES
from app.domain.observed.preview import preview
from app.domain.outcomes.reasons import INGEST_REASONS, WARNINGS

CANARY = "Zq7canary"  # stands in every text an event holds, and nowhere else

TEXT = st.text(max_size=12).map(lambda text: f"{CANARY}{text}") | st.text(max_size=3)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "event_timestamp": st.integers(-300, 21 * 86400).map(lambda s: (NOW - timedelta(seconds=s)).isoformat()),
    "email": st.just(f"{CANARY}@example.com"),
    "phone": st.sampled_from(["+15550100199", "(555) 010-0199", "07911 123456"]),
    "maid": st.just("6d92078a-8246-4ba4-ae5b-76104861e7dc"),
    "fip": st.just("8.8.8.8"),
    "value": st.integers(-5, 10**5) | st.decimals(-5, 10**5, places=4),
    "currency": st.sampled_from(["EUR", "usd"]),
    "units_sold": st.integers(1, 99),
    "event_id": st.just("order-1") | TEXT,
    "user_agent": st.just("Agent/1"),
    "amazon_ad_event_key": st.just("k1"),
    "limited_data_use": st.booleans(),
    "ip_address": st.sampled_from(["8.8.8.8", "2001:4860:4860::8888"]),
    "aref_measurement_tokens": st.just("abcDEF1234.1767225600000"),
}
SCALAR = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT
ODD = SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(st.text(max_size=3), SCALAR, max_size=2)
STEPS = st.sampled_from([written for row in PIPES.values() for written, _ in row.examples])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what a field takes, sometimes anything or nothing."""
    return st.integers(0, 24).flatmap(lambda n: ODD if n == 0 else st.none() if n == 1 else good)


@st.composite
def sources(draw: st.DrawFn, path: str, default: st.SearchStrategy[Any] | None = None) -> dict[str, Any]:
    """A source that reads a path, perhaps through a pipe, perhaps with a default."""
    source: dict[str, Any] = {"path": path}
    if draw(st.integers(0, 19)) == 0:
        source["pipe"] = draw(st.lists(STEPS, min_size=1, max_size=3))
    if default is not None and draw(st.booleans()):
        source["default"] = draw(default)
    return source


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A publishable mapping over the paths `f.<field>`."""
    keys = draw(st.sets(st.sampled_from(MATCH_KEY_FIELDS), min_size=1, max_size=5))
    rest = draw(
        st.sets(st.sampled_from([n for n in FIELDS if n not in MATCH_KEY_FIELDS and n != "event_timestamp"]))
    )
    types, names = (
        st.just(PURCHASE) | st.sampled_from(list(EVENT_TYPES)),
        st.sampled_from(list(EVENT_SOURCES)),
    )
    mode = draw(st.sampled_from(["granted", "granted", "amazon", "amazon", "tcf", "none"]))
    parts = {
        "amazon": {"user_data": "c.user", "ad_storage": "c.ads"},
        "tcf": {"string": "c.s"},
        "gpp": {"string": "c.s"},
    }
    custom = draw(st.sets(st.sampled_from("abcde")))
    return {
        "event_type": draw(types | sources("f.type", types)),
        "event_source": draw(names | sources("f.source", names)),
        "event_name": "Some event",
        "country_code": draw(st.just("US") | sources("f.country", st.sampled_from(["US", "DE", "GB"]))),
        "fields": {name: draw(sources(f"f.{name}")) for name in ["event_timestamp", *keys, *rest]},
        "custom_data": [{"name": name, **draw(sources(f"custom.{name}"))} for name in custom],
        "consent": {"mode": mode, **parts.get(mode, {})},
    }


WHOLE = st.fixed_dictionaries(
    {
        "f": st.fixed_dictionaries(
            {
                **{name: mostly(GOOD.get(name, TEXT)) for name in FIELDS},
                "type": mostly(st.just(PURCHASE) | st.sampled_from(list(EVENT_TYPES))),
                "source": mostly(st.sampled_from(list(EVENT_SOURCES))),
                "country": mostly(st.sampled_from(["US", "de", "UK", "fr-CA"])),
            }
        ),
        "custom": st.fixed_dictionaries({name: mostly(SCALAR) for name in "abcde"}),
        "c": st.fixed_dictionaries(
            {"user": mostly(st.just("GRANTED")), "ads": mostly(st.just("DENIED")), "s": ODD}
        ),
    }
)
EVENTS = WHOLE | st.dictionaries(st.sampled_from(["f", "custom", "c"]), ODD)
RULINGS = st.builds(
    lambda region, profile, dataset: Rules(
        **{**RULES, "region": region, "profile": profile, "dataset_name": dataset}
    ),
    st.sampled_from(list(Region)),
    st.sampled_from(list(Profile)),
    st.sampled_from([None, "Shop_Events"]),
)


@pytest.mark.campaign
@settings(max_examples=300)
@given(EVENTS, documents(), RULINGS)
@example(
    {"f": {"event_timestamp": NOW.isoformat(), "ramp_id": "an at sign alone is no address: @"}},
    {
        "event_type": PURCHASE,
        "event_source": "WEBSITE",
        "event_name": "Some event",
        "country_code": "US",
        "fields": {"event_timestamp": "f.event_timestamp", "ramp_id": "f.ramp_id"},
        "custom_data": [],
        "consent": {"mode": "granted"},
    },
    Rules(**RULES),
)
def test_every_event_is_a_valid_conversion_or_a_known_rejection(
    content: dict[str, Any], document: dict[str, Any], rules: Rules
) -> None:
    """Never an exception; what is taken fits the schema and may leave; what is not shows no value."""
    mapping = compile_mapping(document)
    assert isinstance(mapping, Mapping), mapping
    event = Event("e1", "dst_1", "map_1", content)

    outcome = convert(event, "e1", mapping, rules, now=NOW)
    assert convert(event, "e1", mapping, rules, now=NOW) == outcome

    if isinstance(outcome, Rejection):
        assert outcome.reason in INGEST_REASONS
        assert outcome.code
        assert CANARY not in f"{outcome!r}"
        return
    sent = json.loads(outcome.body, parse_float=Decimal)
    VALIDATOR.validate(json.loads(outcome.body))
    assert sent["eventId"] == outcome.amazon_event_id
    assert tuple(key["type"] for key in sent["matchKeys"]) == outcome.match_keys
    assert {warned.code for warned in outcome.warnings} <= set(WARNINGS)
    assert 100 * sent.get("value", 0) % 1 == 0
    assert CANARY not in f"{outcome!r}"
    assert timedelta(minutes=-5) <= NOW - outcome.event_at <= timedelta(days=21)
    if rules.region is Region.EU or sent["countryCode"] in ("DE", "GB"):
        assert {"amazonConsent", "tcf", "gpp"} & set(sent["consent"])


@pytest.mark.campaign
@settings(max_examples=150)
@given(EVENTS, documents(), RULINGS)
def test_the_preview_is_the_conversion(
    content: dict[str, Any], document: dict[str, Any], rules: Rules
) -> None:
    """It shows the very event that would be sent, or the very reason; no step shows a trait or a raw id."""
    mapping = compile_mapping(document)
    assert isinstance(mapping, Mapping)
    event = Event("e1", "dst_1", "map_1", content)
    outcome = convert(event, "e1", mapping, rules, now=NOW)
    shown = preview(event, "e1", ConversionPlan(mapping, rules), now=NOW)
    msgspec.json.encode(shown)
    if isinstance(outcome, Rejection):
        assert (shown["ok"], shown["code"], shown["reason"], shown["field"], shown["detail"]) == (
            False,
            outcome.code,
            outcome.reason,
            outcome.field,
            outcome.detail,
        )
        assert CANARY not in msgspec.json.encode(shown).decode()
        return
    assert shown["ok"] is True
    assert shown["amazon_event"] == json.loads(outcome.body)
    assert shown["warnings"] == [{"code": w.code, "field": w.field} for w in outcome.warnings]
    keys = {key["type"]: key["values"][0] for key in shown["amazon_event"]["matchKeys"]}
    for step in shown["steps"]:
        if step["field"] in MATCH_KEY_FIELDS and step["result"] is not None:
            value = keys[step["field"].upper()]
            assert step["result"] in (f"sha256:{value[:8]}…", "…")
    personal = [s for s in shown["steps"] if s["field"] in MATCH_KEY_FIELDS or s["field"] == "ip_address"]
    assert CANARY not in msgspec.json.encode(personal).decode()
    assert len(shown["steps"]) >= len(mapping.by_field) + len(mapping.custom_data)
