"""What becomes of an event, rule by rule: the contract's facts as tables."""

import json
from datetime import timedelta
from typing import Any

import pytest
from conversions import (
    EVENT,
    NOW,
    RULES,
    amazon_event,
    compiled,
    converted,
    document,
    event,
    refused,
    warnings,
)

from app.domain.conversion.convert import Conversion, ConversionPlan, Rules
from app.domain.event import Event, Rejection, amazon_event_id
from sandbox.rules import judge
from tests.tables import cases

ADA = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72"  # SHA-256 of ada@example.com
PURCHASE = {"event_type": "OFF_AMAZON_PURCHASES", "event_name": "Order"}
SCOPE = amazon_event_id("dst_1", "map_1", "ADD_TO_SHOPPING_CART", "")


def test_all_members_in_the_order_of_the_contract() -> None:
    """Every member there is, each at its place, as compact JSON."""
    made = document(
        {**PURCHASE},
        value="order.total",
        currency="order.currency",
        units_sold="order.units",
        event_id="order.id",
        ip_address="user.ip",
        user_agent="user.agent",
        limited_data_use={"const": True},
        amazon_ad_event_key="ad.key",
        aref_measurement_tokens="ad.aref",
    )
    order = {"total": 99.99, "currency": "EUR", "units": 2, "id": "order-1001"}
    ad = {"key": "k1", "aref": "abcDEF1234.1767225600000"}
    outcome = converted(
        event(order=order, ad=ad, user__ip="8.8.8.8", user__agent="Agent/1"), made, dataset_name="Shop_Events"
    )
    assert isinstance(outcome, Conversion)
    assert outcome.body.decode() == (
        '{"eventDescription":{"name":"Order","conversionType":"OFF_AMAZON_PURCHASES","eventSource":"WEBSITE",'
        '"eventIngestionMethod":"SERVER_TO_SERVER","dataSetName":"Shop_Events"},"countryCode":"US",'
        '"eventTime":"2026-11-24T10:00:00Z","matchKeys":[{"type":"EMAIL","values":["' + ADA + '"]}],'
        '"value":99.99,"currencyCode":"EUR","unitsSold":2,"eventId":"order-1001",'
        '"consent":{"geo":{"ipAddress":"8.8.8.8"},"amazonConsent":{"amznUserData":"GRANTED","amznAdStorage":"GRANTED"}},'
        '"dataProcessingOptions":{"options":"LIMITED_DATA_USE"},"customData":[{"name":"brand","value":"acme"}],'
        '"deviceInfo":{"userAgent":"Agent/1"},"arefMeasurementTokens":"abcDEF1234.1767225600000",'
        '"amazonAdEventKey":"k1"}'
    )
    assert judge(json.loads(outcome.body), region="NA", now=NOW.timestamp()) == []
    assert (outcome.amazon_event_id, outcome.event_id) == ("order-1001", "ord-1001:node-7")
    assert (outcome.event_type, outcome.event_name, outcome.match_keys) == (
        "OFF_AMAZON_PURCHASES",
        "Order",
        ("EMAIL",),
    )
    assert outcome.warnings == ()


def test_absent_members_are_left_out() -> None:
    """Nothing is sent as null; only what is always sent is there."""
    made = document(
        {"custom_data": None, "consent": {"mode": "none"}}, value="v", user_agent="a", limited_data_use="l"
    )
    assert list(amazon_event(event(l=False), made)) == [
        "eventDescription", "countryCode", "eventTime", "matchKeys", "eventId",
    ]  # fmt: skip
    assert "dataSetName" not in amazon_event(event(), made, dataset_name="")["eventDescription"]


def test_two_threads_convert_with_one_plan() -> None:
    """One converts with a later time while the other reads an event that was too old then."""
    plan = ConversionPlan(compiled(document(event_timestamp="when")), Rules(**RULES))
    earlier = NOW - timedelta(days=60)
    user = {"email": "ada@example.com", "phone": "+12025550123", "country": "US"}
    content = {**EVENT, "when": earlier.isoformat(), "user": user}

    class Interrupted(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            if name == "when":
                assert isinstance(plan.convert(Event("2", "dst_1", None, content), "2", earlier), Conversion)
            return super().get(name, default)

    outcome = plan.convert(Event("1", "dst_1", None, Interrupted(content)), "1", NOW)
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "event_too_old"


def test_only_the_shape_shows_in_a_repr() -> None:
    """Neither the bytes nor a person's value is in the repr of a conversion."""
    shown = repr(converted(event()))
    assert ADA not in shown
    assert "acme" not in shown


@cases(
    ("value", "reason"),
    {
        "one of Amazon's types": ("LEAD", None),
        "types are upper case": ("lead", "event_type_invalid"),
        "types have one spelling": ("OFF_AMAZON_PURCHASE", "event_type_invalid"),
        "types are a closed list": ("OTHER; DROP", "event_type_invalid"),
        "a type is needed": (None, "event_type_invalid"),
        "a number is no type": (5, "event_type_invalid"),
        "a type is no list": (["LEAD"], "wrong_type"),
    },
)
def test_mapped_event_types(value: Any, reason: str | None) -> None:
    """A mapped type is Amazon's own word; sources likewise."""
    made = document({"event_type": {"path": "kind"}})
    assert getattr(converted(event(kind=value), made), "reason", None) == reason
    made = document({"event_source": {"path": "kind"}})
    source = "IOS" if value == "LEAD" else value
    expected = reason and reason.replace("type_invalid", "source_invalid")
    assert getattr(converted(event(kind=source), made), "reason", None) == expected


def test_a_conversion_has_the_source_that_the_mapping_read() -> None:
    """A constant is in the mapping's version already."""
    mapped = converted(event(kind="IOS"), document({"event_source": {"path": "kind"}}))
    assert getattr(mapped, "event_source", "") == "IOS"
    assert getattr(converted(event(), document({})), "event_source", "") is None


def test_a_pinned_name_is_the_only_one() -> None:
    """A second name for a type is refused with the first shown; other types go their way."""
    outcome = refused(event(), pins={"ADD_TO_SHOPPING_CART": "Cart add"})
    assert (outcome.reason, outcome.mapping_field) == ("event_name_conflict", "event_name")
    assert "“Cart add”" in outcome.detail
    assert amazon_event(event(), pins={"ADD_TO_SHOPPING_CART": "Added to cart", "LEAD": "Lead"})


@pytest.mark.parametrize("value", ["XX", 840])
def test_countries_that_are_not(value: Any) -> None:
    """The default serves what is absent, not what is wrong. `test_places` has the spellings."""
    outcome = refused(event(user__country=value))
    place = (outcome.field, outcome.mapping_field)
    assert (outcome.reason, *place) == ("country_invalid", "user.country", "country_code")


def test_a_missing_country() -> None:
    """Without a default an event needs its country."""
    assert refused(event(), document({"country_code": {"path": "user.country"}})).reason == "country_missing"


def test_uk_becomes_gb_with_a_warning() -> None:
    """Consent depends on the country, so the result names the country that was read."""
    assert warnings(event(user__country="UK")) == [("country_uk_read_as_gb", "user.country")]


def occurred(**ago: float) -> str:
    """Write a time so far before now."""
    return (NOW - timedelta(**ago)).isoformat()


@cases(
    ("value", "reason"),
    {
        "21 days ago is taken": (occurred(days=21), None),
        "a millisecond more is too old": (occurred(days=21, milliseconds=1), "event_too_old"),
        "epoch zero is too old": ("1970-01-01T00:00:00Z", "event_too_old"),
        "five minutes ahead is taken": (occurred(minutes=-5), None),
        "a second more is the future": (occurred(minutes=-5, seconds=-1), "timestamp_future"),
        "null is missing": (None, "timestamp_missing"),
        "nothing is missing": ("", "timestamp_missing"),
        "a day that is not": ("2026-02-30T10:00:00Z", "timestamp_invalid"),
        "no zone": ("2026-11-24T10:00:00", "timestamp_invalid"),
        "seconds since 1970 as a number": (1764000000, "event_too_old"),
        "a boolean": (True, "wrong_type"),
        "an object": ({"iso": "2026"}, "wrong_type"),
    },
)
def test_event_times(value: Any, reason: str | None) -> None:
    """P6: with zone, at most 21 days old, at most five minutes ahead."""
    outcome = converted(event(event__timestamp=value))
    assert getattr(outcome, "reason", None) == reason
    if reason:
        assert (outcome.field, outcome.mapping_field) == ("event.timestamp", "event_timestamp")  # type: ignore[union-attr]


def test_an_epoch_that_cannot_be_read_is_an_invalid_time() -> None:
    made = document(event_timestamp={"path": "event.timestamp", "pipe": ["epoch_s"]})
    assert refused(event(event__timestamp="soon"), made).reason == "timestamp_invalid"


def test_the_interfaces_own_sentence() -> None:
    """The detail names label, path and what is wrong there."""
    outcome = refused({"event_id": "x", "user": {"email": "a@b.example"}})
    assert outcome.detail == "Event Timestamp is mapped to event.timestamp, which is absent."
    assert (outcome.code, outcome.event_id) == ("BAD_REQUEST", "x")


def test_aging_events_are_accepted_with_a_warning() -> None:
    """Older than seven days, Amazon may leave it out of reports."""
    assert warnings(event(event__timestamp=occurred(days=7))) == []
    assert warnings(event(event__timestamp=occurred(days=7, seconds=1))) == [
        ("event_aging", "event.timestamp")
    ]


@cases(
    ("email", "warned"),
    {
        "null is absent": (None, False),
        "an empty text is absent": ("", False),
        "blanks are dropped": ("   ", True),
        "what normalises to nothing is dropped": ("🙂", True),
    },
)
def test_traits_that_make_no_key(email: Any, warned: bool) -> None:
    """An event with one valid key is accepted, and without any it is rejected; the value is a placeholder."""
    expected = [("match_key_dropped", "user.email")] if warned else []
    assert warnings(event(user__email=email, user__phone="+15550100199")) == expected
    outcome = refused(event(user__email=email))
    assert (outcome.reason, outcome.field, outcome.mapping_field) == ("no_match_key", None, None)


def test_a_missing_match_key_says_why_each_key_came_out_empty() -> None:
    """Names of fields and fixed words only, nothing of the event."""
    made = document(first_name="user.first", maid="user.maid", match_id="user.id")
    content = event(user__email="ada", user__phone="+1 000 000 0000", user__maid="x", user__id="a@b.example")
    assert refused(content, made).detail == (
        "No match key is left: email is not_an_email, phone is placeholder, first_name is absent, "
        "maid is not_a_uuid, match_id is personal."
    )
