"""The fast path gives the same bytes as the general conversion, or leaves the event to it."""

from typing import Any

import pytest
from conversions import EVENT, NOW, RULES, compiled, document
from conversions import event as made
from hypothesis import event as seen
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conversion_laws import EVENTS, RULINGS, documents

from app.domain.conversion.convert import Conversion, Rules, convert
from app.domain.conversion.event_types import PURCHASE
from app.domain.conversion.fast_path import compile_fast_path
from app.domain.event import Event
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.mapping.fields import MATCH_KEY_FIELDS

STRAIGHT_FIELDS = {*MATCH_KEY_FIELDS, "event_timestamp", "value", "currency", "units_sold"}


def straightened(written: dict[str, Any], event_type: str) -> dict[str, Any]:
    """Give a mapping document that has a straight way: fixed type, source and consent, few fields."""
    fields = {name: source for name, source in written["fields"].items() if name in STRAIGHT_FIELDS}
    if event_type != PURCHASE:
        fields = {name: source for name, source in fields.items() if name not in ("currency", "units_sold")}
    return {
        **written,
        "event_type": event_type,
        "event_source": "WEBSITE",
        "consent": {"mode": "granted"},
        "fields": fields,
    }


@pytest.mark.campaign
@settings(max_examples=400)
@given(EVENTS, documents(), RULINGS, st.sampled_from([PURCHASE, "ADD_TO_SHOPPING_CART"]), st.text(min_size=1))
def test_the_straight_way_gives_what_the_long_way_gives(
    content: dict[str, Any], written: dict[str, Any], rules: Rules, event_type: str, event_id: str
) -> None:
    """Whatever the event, the mapping and the id: the same conversion, or none."""
    mapping = compile_mapping(straightened(written, event_type))
    assert isinstance(mapping, Mapping), mapping
    fast_path = compile_fast_path(mapping, rules)
    assert fast_path is not None
    event = Event(event_id, "dst_1", "map_1", content)

    quick = fast_path(event, event_id, NOW)

    seen("straight" if quick else "long")
    if quick is not None:
        assert quick == convert(event, event_id, mapping, rules, now=NOW)


KEYS = {"maid": "user.maid", "value": "event.properties.total"}


@pytest.mark.parametrize(
    ("paths", "written"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"event__properties__total": 12}, {}, id="with a value"),
        pytest.param({"event__properties__brand": 'Ácme & "Söhne"'}, {}, id="with unusual custom data"),
        pytest.param({"event__properties__brand": 7}, {}, id="with a number as custom data"),
        pytest.param({"user__maid": None}, {}, id="without one of the match keys"),
        pytest.param({}, {"event_type": PURCHASE}, id="a purchase in the destination's currency"),
    ],
)
def test_a_usual_event_goes_straight(paths: dict[str, Any], written: dict[str, Any]) -> None:
    """The straight way is taken, so that the law above is not about nothing."""
    content = made(**{"user__phone": "+4930901820123", **paths})
    mapping, rules = compiled(document(written, **KEYS)), Rules(**RULES)
    fast_path = compile_fast_path(mapping, rules)
    assert fast_path is not None
    event = Event("e:1", "dst_1", "map_1", content)
    quick = fast_path(event, "e:1", NOW)
    assert isinstance(quick, Conversion)
    assert quick == convert(event, "e:1", mapping, rules, now=NOW)


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param({"event__timestamp": "2026-11-10T10:00:00Z"}, id="an old event, which earns a warning"),
        pytest.param({"event__timestamp": "yesterday"}, id="a time that is none"),
        pytest.param({"user__email": "nobody"}, id="a match key that is dropped"),
        pytest.param({"user__email": "a" * 64}, id="a digest in place of a trait"),
        pytest.param({"user__country": "de"}, id="a country in another spelling"),
        pytest.param({"event__properties__total": "much"}, id="a value that is no number"),
        pytest.param({"event__properties__brand": "ada@example.com"}, id="custom data that names a person"),
    ],
)
def test_an_event_with_which_something_is_wrong_takes_the_long_way(paths: dict[str, Any]) -> None:
    """Only there it is said what is wrong."""
    fast_path = compile_fast_path(compiled(document(None, **KEYS)), Rules(**RULES))
    assert fast_path is not None
    assert fast_path(Event("e", "dst_1", "map_1", made(**paths)), "e", NOW) is None


@pytest.mark.parametrize(
    ("written", "fields", "rules"),
    [
        pytest.param({"event_type": {"path": "event.name"}}, {}, {}, id="an event type read from the event"),
        pytest.param({"event_source": {"path": "event.name"}}, {}, {}, id="a source read from the event"),
        pytest.param({"consent": {"mode": "none"}}, {}, {}, id="consent that is judged"),
        pytest.param({}, {"event_id": "event.id"}, {}, id="a mapped Amazon id"),
        pytest.param(
            {}, {"currency": "event.currency"}, {}, id="a currency with an event that is no purchase"
        ),
        pytest.param(
            {}, {}, {"pins": {"ADD_TO_SHOPPING_CART": "Other"}}, id="a name that is not the pinned one"
        ),
    ],
)
def test_a_mapping_that_must_be_judged_event_by_event_has_no_straight_way(
    written: dict[str, Any], fields: dict[str, Any], rules: dict[str, Any]
) -> None:
    """Nothing is compiled for it."""
    mapping = compiled(document(written, **fields))
    assert compile_fast_path(mapping, Rules(**{**RULES, **rules})) is None
    assert compile_fast_path(compiled(document()), Rules(**RULES)) is not None, EVENT
