"""Lint warnings of a draft: reported while it is edited, never a refusal."""

from typing import Any

import pytest

from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.destination import Region
from app.domain.mapping.document import check_publishable
from app.domain.mapping.lint import LintWarning, lint
from app.domain.mapping.presets import PRESETS
from tests.tables import cases

PURCHASE = "OFF_AMAZON_PURCHASES"
NONE = {"consent": {"mode": "none"}}


def of_type(event_type: Any, **fields: Any) -> dict[str, Any]:
    return {"event_type": event_type, "fields": {"event_timestamp": "t", "email": "user.email", **fields}}


@cases(
    ("draft", "found"),
    {
        "an empty draft": ({}, []),
        "a draft of nonsense": ({"fields": "x", "custom_data": 1, "consent": []}, []),
        "what only purchases carry": (
            of_type("OTHER", currency="c", units_sold="u"),
            [("field_ignored", "fields.currency"), ("field_ignored", "fields.units_sold")],
        ),
        "a type that is read from the event may be a purchase": (of_type({"path": "type"}, currency="c"), []),
        "a lead without value": (of_type({"const": "LEAD"}), [("field_advised", "fields.value")]),
        "a search needs no value": (of_type("SEARCH"), []),
        "a purchase of less than nothing": (
            of_type(PURCHASE, value={"const": -1}),
            [("every_event_rejected", "fields.value")],
        ),
        "no unit": (
            of_type(PURCHASE, value="v", units_sold={"const": 0}),
            [("every_event_rejected", "fields.units_sold")],
        ),
        "the form of a derived id": (
            {"fields": {"event_id": {"const": "0123456789abcdef:x"}}},
            [("every_event_rejected", "fields.event_id"), ("same_for_every_event", "fields.event_id")],
        ),
        "other values are scores and may be negative": (of_type("LEAD", value={"const": -1}), []),
        "one id and one person for all": (
            {"fields": {"event_id": {"const": "x"}, "email": {"const": "a@b.co"}}},
            [("same_for_every_event", "fields.email"), ("same_for_every_event", "fields.event_id")],
        ),
        "one id for all events without one": (
            {
                "fields": {
                    "event_id": {"first_of": ["id", {"const": "x"}]},
                    "maid": {"path": "m", "default": "x"},
                }
            },
            [("same_for_every_event", "fields.event_id"), ("same_for_every_event", "fields.maid")],
        ),
        "templates and several sources": (
            {
                "fields": {
                    "email": {"first_of": ["a.email", "b.phone"]},
                    "city": {"template": "{a.zip} {a.state}"},
                },
                "custom_data": [
                    {"name": "a", "template": "x{user.email}"},
                    {"name": "b", "first_of": ["x", {"path": "u.phone", "pipe": ["sha256_lower"]}]},
                ],
            },
            [
                ("path_names_another_field", "fields.email"),
                ("path_names_another_field", "fields.city"),
                ("custom_data_personal", "custom_data[0]"),
            ],
        ),
        "no consent in a country that asks for it": (
            {**NONE, "country_code": "uk"},
            [("every_event_rejected", "consent.mode")],
        ),
        "a country of each event's own": ({**NONE, "country_code": {"path": "c", "default": "DE"}}, []),
        "paths that name something else": (
            {"fields": {"email": "user.maid"}, "custom_data": ["a.phone", {"name": "x", "path": "email"}]},
            [
                ("path_names_another_field", "fields.email"),
                ("custom_data_personal", "custom_data[0]"),
                ("custom_data_personal", "custom_data[1]"),
            ],
        ),
        "hashed it may go": ({"custom_data": [{"name": "x", "path": "email", "pipe": ["sha256_lower"]}]}, []),
    },
)
def test_each_likely_mistake_is_a_warning(draft: dict[str, Any], found: list[tuple[str, str]]) -> None:
    """Each with the member that it is about."""
    assert list(lint(draft, Region.NA)) == [LintWarning(*each) for each in found]


def test_the_eu_demands_consent() -> None:
    """Whatever the country is."""
    assert list(lint(NONE, Region.EU)) == [LintWarning("every_event_rejected", "consent.mode")]
    assert list(lint({}, Region.EU)) == []
    assert list(lint({"fields": "x", "custom_data": 1, "consent": []}, Region.EU)) == []


def test_each_of_the_twelve_types_has_a_preset() -> None:
    assert [preset.event_type for preset in PRESETS] == list(EVENT_TYPES)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.event_type)
def test_nothing_is_odd_about_a_preset(preset: Any) -> None:
    """What we offer can be published, in every region. What only a purchase takes is in its preset alone."""
    document = preset.document()
    assert check_publishable(document) == []
    assert ("currency" in document["fields"]) == (preset.event_type == "OFF_AMAZON_PURCHASES")
    assert [one for region in Region for one in lint(document, region)] == []
