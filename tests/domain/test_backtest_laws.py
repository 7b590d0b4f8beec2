"""A law of the backtest: it never says that nothing changes when a real event would be sent differently."""

import copy
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.admin.backtest import summary
from app.domain.conversion.convert import Conversion, Rules, convert
from app.domain.destination import Region
from app.domain.event import Event
from app.domain.identity import Profile
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.backtest import backtest
from app.domain.observed.schema_sample import ValueKind, take_sample

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Rules("dst_x", "map_x", 1, Region.NA, Profile.AMAZON, "USD", None, {})
ODD = st.sampled_from(
    [
        None,
        "",
        " ",
        "acme",
        "Acme",
        "text",
        "ada@example.com",
        "bob@example.com",
        "+12025550173",
        "+0000000000",
        "202-555-0144",
        "N/A",
        "2026-11-24T10:00:00Z",
        "2026-11-24T10:00:01+02:00",
        "US",
        "DE",
        "PURCHASE",
        "LEAD",
        "OFF_AMAZON_PURCHASES",
        "GRANTED",
        "denied",
        "EUR",
        "5e884898-da28-4715-9d0e-56f8dc629277",
        True,
        False,
        0,
        7,
        1,
        Decimal("2.0"),
        Decimal("9.99"),
        -3,
        {},
        {"x": "acme"},
        [],
        ["acme", "bob"],
    ]
)
TEXTS = st.sampled_from(["acme", "Acme", "text", "ada@example.com", "bob@example.com", "+12025550173", "N/A"])
VALUES = st.integers(0, 9).flatmap(lambda n: ODD if n == 0 else TEXTS)
NUMBERS = st.sampled_from([0, 7, 8, Decimal("2.0"), Decimal("9.99")])
COUNTRIES = st.sampled_from(["US", "CA", "GB"])
PATHS = ["a", "b", "user.c", "user.d", "list[0]", "list[4]", "obj.x"]
PIPES = st.sampled_from([[], ["trim"], ["lower"], ["digits"], ["to_string"], [["replace", "a", "b"]]])


@st.composite
def sources(draw: st.DrawFn, paths: Sequence[str] = PATHS) -> Any:
    """A source that reads one of few paths, so that drafts often read another one of the same kind."""
    source: dict[str, Any] = {"path": draw(st.sampled_from(paths))}
    if draw(st.integers(0, 3)) == 0 and (pipe := draw(PIPES)):
        source["pipe"] = pipe
    return source


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A publishable document."""
    optional = {
        name: draw(source)
        for name, source in {
            "phone": sources(),
            "user_agent": sources(),
            "event_id": sources(),
            "value": st.sampled_from(["number", "other_number"]),
            "limited_data_use": st.sampled_from(["flag", "other_flag"]),
        }.items()
        if draw(st.integers(0, 5)) == 0
    }
    types = st.sampled_from(["LEAD", "OTHER", "OFF_AMAZON_PURCHASES"])
    return {
        "name": "x",
        "event_type": draw(st.one_of(types, types, types, st.just({"path": "type"}))),
        "event_source": "WEBSITE",
        "event_name": draw(st.sampled_from(["One", "Two"])),
        "country_code": draw(
            st.sampled_from([{"path": "country"}, {"path": "shop.country", "default": "CA"}, "US", "CA"])
        ),
        "fields": {"event_timestamp": "time", "email": draw(sources()), "match_id": "id", **optional},
        "custom_data": [{"name": "brand", **draw(sources(["c1", "c2"]))}] if draw(st.booleans()) else [],
        "consent": draw(
            st.sampled_from([{"mode": "granted"}, {"mode": "amazon", "user_data": "a"}, {"mode": "none"}])
        ),
    }


@st.composite
def changed_documents(draw: st.DrawFn, published: dict[str, Any]) -> dict[str, Any]:
    """The document with one to three members of another one."""
    draft, other = copy.deepcopy(published), draw(documents())
    for _ in range(draw(st.integers(1, 3))):
        member = draw(st.sampled_from(["event_type", "event_name", "country_code", "custom_data", "consent"]))
        if draw(st.booleans()):
            draft[member] = other[member]
        else:
            draft["fields"] |= {
                name: source for name, source in other["fields"].items() if draw(st.booleans())
            }
    return draft


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event with a time, an id, and any value at the paths."""
    return {
        "time": "2026-11-24T09:00:00Z",
        "id": "customer7",
        "a": draw(VALUES),
        "b": draw(VALUES),
        "user": {"c": draw(VALUES), "d": draw(VALUES)},
        "list": draw(st.lists(VALUES, max_size=6)),
        "obj": draw(VALUES),
        "number": draw(NUMBERS),
        "other_number": draw(NUMBERS),
        "flag": draw(st.booleans()),
        "other_flag": draw(st.booleans()),
        "c1": draw(TEXTS),
        "c2": draw(TEXTS),
        "country": draw(COUNTRIES),
        "shop": {"country": draw(st.none() | COUNTRIES)},
        "type": draw(st.sampled_from(["LEAD", "OTHER", "OFF_AMAZON_PURCHASES"])),
    }


def unusable(mapping: Mapping, conversion: Conversion) -> MappingOf[str, ValueKind]:
    dropped = {wire_type for wire_type, _ in conversion.dropped_keys}
    return {
        key.source.path: ValueKind.UNUSABLE_TRAIT if key.rule.hashed else ValueKind.UNUSABLE_ID
        for key in mapping.match_keys
        if key.wire_type in dropped and key.source.path is not None
    }


@pytest.mark.campaign
@settings(max_examples=300)
@given(st.data())
def test_no_difference_is_called_nothing(data: st.DataObject) -> None:
    """Whatever differs for the real event, the verdict on its sample does not say "nothing changes"."""
    written = data.draw(documents())
    published, draft = compile_mapping(written), compile_mapping(data.draw(changed_documents(written)))
    if not isinstance(published, Mapping) or not isinstance(draft, Mapping):
        return
    event = Event("e", "d", "m", data.draw(events()))
    before = convert(event, "e", published, RULES, now=NOW)
    if not isinstance(before, Conversion):
        return  # only accepted events are sampled
    after = convert(event, "e", draft, RULES, now=NOW)
    if isinstance(after, Conversion) and after.body == before.body:
        return
    mapped = [path for _, path in published.paths]
    sample = take_sample(event.content, mapped, unusable(published, before))
    result = backtest([(sample, 1)], published, draft, RULES, now=NOW)
    assert "nothing changes" not in summary(result), (sample, result)
